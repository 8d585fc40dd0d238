// npm ws: every parameter that a client can offer, fragments with a Ping between, and what inflating saved on the wire.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { WebSocket } from "ws";
import { json, exercise, within } from "./cases.js";
import { runAll } from "./report.js";

const { version } = JSON.parse(readFileSync(new URL("node_modules/ws/package.json", import.meta.url)));
const ca = readFileSync(process.env.INTEROP_CA);

const BITS = "client_max_window_bits";
const OFFERS = [
  { [BITS]: true },
  {},
  { [BITS]: true, server_no_context_takeover: true },
  { [BITS]: true, client_no_context_takeover: true },
  { [BITS]: true, server_no_context_takeover: true, client_no_context_takeover: true },
  ...[9, 12, 15].map((bits) => ({ [BITS]: bits })),
  ...[8, 9, 12, 15].map((bits) => ({ [BITS]: true, server_max_window_bits: bits })),
  { server_no_context_takeover: true, client_no_context_takeover: true, server_max_window_bits: 10, [BITS]: 10 },
];

async function connect(url, offer) {
  const perMessageDeflate = {
    // Small messages too, and the default once.
    threshold: offer === OFFERS[1] ? 1024 : 0,
    serverNoContextTakeover: offer.server_no_context_takeover,
    clientNoContextTakeover: offer.client_no_context_takeover,
    serverMaxWindowBits: offer.server_max_window_bits,
    clientMaxWindowBits: offer.client_max_window_bits ?? false,
  };
  const ws = new WebSocket(url, { ca, perMessageDeflate, handshakeTimeout: 20_000 });
  const arrived = [];
  let wake = () => {};
  let failure;
  ws.on("message", (data, isBinary) => {
    arrived.push(isBinary ? new Uint8Array(data) : data.toString());
    wake();
  });
  const closed = new Promise((resolve) => ws.on("close", (code) => resolve({ code, wasClean: code !== 1006 })));
  ws.on("error", (error) => {
    failure = error;
    wake();
  });
  closed.then(({ code }) => {
    failure ??= new Error(`closed with ${code}`);
    wake();
  });
  let response;
  ws.on("upgrade", ({ headers }) => (response = headers["sec-websocket-extensions"] ?? ""));
  await once(ws, "open");
  return {
    response,
    socket: ws._socket,
    send: (data) => ws.send(data),
    async next() {
      while (arrived.length === 0) {
        if (failure) throw failure;
        await new Promise((resolve) => (wake = resolve));
      }
      return arrived.shift();
    },
    async ping(payload) {
      const pong = once(ws, "pong");
      ws.ping(payload);
      return (await pong)[0].toString();
    },
    fragments(parts) {
      for (const [at, part] of parts.entries()) {
        ws.send(part, { fin: at === parts.length - 1 });
        ws.ping("between");
      }
    },
    close(code, reason) {
      ws.close(code, reason);
      return closed;
    },
  };
}

// What deflates well has to arrive deflated, if that was agreed.
async function exerciseOnTheWire(peer) {
  const text = json(256 << 10);
  const before = peer.socket.bytesRead;
  peer.send(text);
  const got = await within(20_000, "an echo", peer.next());
  if (got !== text) throw new Error("the first echo differs");
  const share = (peer.socket.bytesRead - before) / text.length;
  const isDeflated = share < 0.5;
  if (isDeflated !== Boolean(peer.response)) {
    throw new Error(`${Math.round(share * 100)} % of the text's length arrived, ${peer.response || "nothing"} agreed`);
  }
  return 1 + (await exercise(peer));
}

await runAll(`ws ${version}`, OFFERS, connect, exerciseOnTheWire);
