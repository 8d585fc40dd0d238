// How a JavaScript client is run and told about: once a URL and offer, one line of JSON each.

import { checkAgreed, describeOffer, exercise } from "./cases.js";

export const URLS = process.env.INTEROP_URLS.split(" ");
export const COMPRESSION = process.env.INTEROP_COMPRESSION;

// Whoever failed so often will go on to, and each time may take the deadline.
const FAILURES_MAX = 3;

let failures = 0;

// Runs `offers` over ws and wss, only the first of them where nothing is to be agreed, and ends the process: what failed
// may have left connections behind. connect(url, offer) gives a peer.
export async function runAll(client, offers, connect, exercisePeer = exercise) {
  for (const url of URLS) {
    for (const offer of COMPRESSION === "off" ? offers.slice(0, 1) : offers) {
      if (failures < FAILURES_MAX) await report(client, url, offer, async (row) => {
        const peer = await connect(url, offer);
        row.agreed = checkAgreed(peer.response, offer, COMPRESSION);
        row.echoed = await exercisePeer(peer);
      });
    }
  }
  process.exit();
}

export async function report(client, url, offer, run) {
  const scheme = url.split(":")[0];
  const row = { compression: COMPRESSION, client, scheme, offer: describeOffer(offer), agreed: "?", echoed: 0 };
  try {
    await run(row);
    row.ok = true;
  } catch (error) {
    failures += 1;
    row.ok = false;
    row.error = String(error.message ?? error);
  }
  console.log(JSON.stringify(row));
}

export function skip(client, reason) {
  console.log(JSON.stringify({ compression: COMPRESSION, client, skipped: reason }));
}
