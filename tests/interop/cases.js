// What every JavaScript client is put through, in Node and in a page: hence no import.
//
// A peer has `response` (the extensions that the server agreed to, as the client tells), send(data), next() (what came, a
// string or a Uint8Array), close(code, reason) and, where the client can, ping(payload) and fragments(parts).

const DEADLINE_MS = 20_000;

const encoder = new TextEncoder();

// Bytes that deflate cannot shorten; the same in every run.
export function noise(length, seed = 1) {
  let state = seed >>> 0 || 1;
  return Uint8Array.from({ length }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 255;
  });
}

export function json(length, at = 0) {
  let text = "";
  for (let id = at; text.length < length; id += 1) {
    text += JSON.stringify({ id, type: "position", user: `user-${id % 17}`, lat: 52.5 + id / 1e4, ok: true });
  }
  return text.slice(0, length);
}

const UNICODE = "Grüße, 世界 🌍 \u0000 ﷺ \u{10ffff} e\u0301\n";

function messages() {
  const texts = ["", "a", json(125), json(126), json(1024), json(65_535), json(64 << 10), json(512 << 10)];
  const binaries = [0, 1, 125, 126, 1024, 65_535, 64 << 10, 512 << 10].map((length) => noise(length, length + 1));
  const zeros = new Uint8Array(512 << 10);
  return [...texts, UNICODE, UNICODE.repeat(5000), ...binaries, zeros, encoder.encode(json(64 << 10))];
}

// Puts `peer` through everything; returns how many messages came back as they were.
export async function exercise(peer) {
  let echoed = 0;
  const expect = async (sent, what) => {
    const got = await within(DEADLINE_MS, what, peer.next());
    assertSame(got, sent, what);
    echoed += 1;
  };
  for (const message of messages()) {
    peer.send(message);
    await expect(message, `an echo of ${describe(message)}`);
  }
  // In a row, so that each can be deflated with those before it as its context.
  const row = Array.from({ length: 200 }, (_, at) => json(200 + at * 3, at));
  for (const message of row) peer.send(message);
  for (const [at, message] of row.entries()) await expect(message, `message ${at} of 200 in a row`);
  if (peer.ping) {
    for (const payload of ["", "are you there?", "p".repeat(125)]) {
      const pong = await within(DEADLINE_MS, "a Pong", peer.ping(payload));
      assertSame(pong, payload, "a Pong");
    }
  }
  if (peer.fragments) {
    for (const size of [1, 7, 300, 70_000]) {
      const [text, binary] = [json(size * 3), noise(size * 3, 5)];
      for (const whole of [text, binary]) {
        peer.fragments([0, 1, 2].map((at) => whole.slice(at * size, (at + 1) * size)));
        await expect(whole, `three fragments of ${size}`);
      }
    }
  }
  const { code, wasClean } = await within(DEADLINE_MS, "the closing handshake", peer.close(1000, "done"));
  if (code !== 1000 || !wasClean) throw new Error(`closed with ${code}, ${wasClean ? "" : "not "}clean`);
  return echoed;
}

// The WebSocket of the HTML standard as a peer, once it is open.
export async function standardPeer(url) {
  const ws = new WebSocket(url);
  ws.binaryType = "arraybuffer";
  const [arrived, wanted] = [[], []];
  let ended;
  const closed = new Promise((resolve) => {
    ws.onclose = ({ code, reason, wasClean }) => {
      ended = new Error(`closed with ${code} ${reason}`);
      wanted.splice(0).forEach(({ reject }) => reject(ended));
      resolve({ code, wasClean });
    };
  });
  ws.onmessage = ({ data }) => {
    const message = typeof data === "string" ? data : new Uint8Array(data);
    if (wanted.length > 0) wanted.shift().resolve(message);
    else arrived.push(message);
  };
  const opened = new Promise((resolve) => (ws.onopen = ws.onerror = resolve));
  await within(DEADLINE_MS, "an open connection", Promise.race([opened, closed]));
  if (ws.readyState !== WebSocket.OPEN) throw ended ?? new Error("could not connect");
  return {
    response: ws.extensions,
    send: (data) => ws.send(data),
    next: () =>
      new Promise((resolve, reject) => {
        if (arrived.length > 0) resolve(arrived.shift());
        else if (ended) reject(ended);
        else wanted.push({ resolve, reject });
      }),
    close: (code, reason) => {
      ws.close(code, reason);
      return closed;
    },
  };
}

// Holds the server's answer against the offer and RFC 7692 §7.1. `offer` is what the client sent, by parameter: a
// number, `true` for a parameter without a value, or undefined. Returns what to print.
export function checkAgreed(response, offer, compression) {
  if (!response) {
    // A small window is for the server to grant; everything else it has no reason to decline.
    const mayDecline = compression === "off" || offer.server_max_window_bits < 15;
    if (!mayDecline) throw new Error("permessage-deflate was not agreed");
    return "none";
  }
  if (compression === "off") throw new Error(`agreed with --compression off: ${response}`);
  const [name, ...fields] = response.split(";").map((part) => part.trim());
  if (name !== "permessage-deflate") throw new Error(`not the extension that was offered: ${response}`);
  const agreed = {};
  for (const field of fields) {
    const [key, value] = field.split("=").map((part) => part.trim().replaceAll('"', ""));
    const isBits = key.endsWith("_max_window_bits");
    if (key in agreed || !PARAMETERS.includes(key) || isBits !== (value !== undefined)) {
      throw new Error(`malformed: ${response}`);
    }
    agreed[key] = isBits ? Number(value) : true;
    if (isBits && !(agreed[key] >= 8 && agreed[key] <= 15)) throw new Error(`no window size: ${response}`);
  }
  if (offer.server_no_context_takeover && !agreed.server_no_context_takeover) {
    throw new Error(`server_no_context_takeover was asked for: ${response}`);
  }
  if (offer.server_max_window_bits && !(agreed.server_max_window_bits <= offer.server_max_window_bits)) {
    throw new Error(`server_max_window_bits=${offer.server_max_window_bits} was asked for: ${response}`);
  }
  if (agreed.client_max_window_bits && !offer.client_max_window_bits) {
    throw new Error(`client_max_window_bits was not offered: ${response}`);
  }
  if (typeof offer.client_max_window_bits === "number" && agreed.client_max_window_bits > offer.client_max_window_bits) {
    throw new Error(`client_max_window_bits=${offer.client_max_window_bits} was offered: ${response}`);
  }
  return [name, ...fields].join("; ");
}

const PARAMETERS = [
  "server_no_context_takeover",
  "client_no_context_takeover",
  "server_max_window_bits",
  "client_max_window_bits",
];

export function describeOffer(offer) {
  const fields = Object.entries(offer).filter(([, value]) => value !== undefined);
  return fields.map(([key, value]) => (value === true ? key : `${key}=${value}`)).join("; ") || "-";
}

export async function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function describe(message) {
  return typeof message === "string" ? `${message.length} characters` : `${message.length} bytes`;
}

function assertSame(got, sent, what) {
  const isSame =
    typeof sent === "string"
      ? got === sent
      : got instanceof Uint8Array && got.length === sent.length && sent.every((byte, at) => byte === got[at]);
  if (!isSame) throw new Error(`${what} differs: ${typeof got}, ${describe(got)}`);
}
