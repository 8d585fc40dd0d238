// The stock client of Centrifugo's protocol, as its users install it: what it does every day, with odd data, with as many
// subscriptions as it may have, cut off in the middle of a stream, with a history that is too short, and too slow; and the HTTP
// API beside it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Centrifuge } from "centrifuge";
import { WebSocket } from "ws";
import { checkAgreed, noise, within } from "./cases.js";
import { COMPRESSION, URLS, report, skip } from "./report.js";

const { version } = JSON.parse(readFileSync(new URL("node_modules/centrifuge/package.json", import.meta.url)));
const CLIENT = `centrifuge ${version}`;
const { INTEROP_BINARY: BINARY, INTEROP_CERT: CERT, INTEROP_KEY: KEY } = process.env;

const DEADLINE_MS = 20_000;
// What npm ws offers if it is not told otherwise.
const OFFER = { client_max_window_bits: true };
const API_KEY = "the-key-of-the-interop-run";
const RECOVERS = { positioned: true, recoverable: true };

const endings = [];

// Connects, subscribes, publishes, asks; and hears bare WebSockets, which hear it.
async function everyDay(url) {
  const topic = `every/day/${schemeOf(url)}`;
  const [anna, ben] = [await connect(url), await connect(url)];
  const [heard, others] = [await subscribe(anna, topic), await subscribe(ben, topic)];

  const { clients } = await asked("presence", heard.subscription.presence());
  same(Object.keys(clients).sort(), [anna.id, ben.id].sort(), "presence");
  for (const [id, info] of Object.entries(clients)) same([info.client, info.user], [id, ""], "an entry of presence");
  const stats = await asked("presenceStats", heard.subscription.presenceStats());
  same([stats.numClients, stats.numUsers], [2, 1], "presenceStats");

  const bare = new WebSocket(`${url}/${topic}`);
  endings.push(() => bare.terminate());
  const bareHeard = new Inbox();
  bare.on("message", (data, isBinary) => bareHeard.push(isBinary ? [...data] : data.toString()));
  await within(DEADLINE_MS, "a bare WebSocket", once(bare, "open"));

  // From clients to everybody: the JSON as it was written, the sender's own too.
  await asked("publish", ben.publish(topic, { n: 1.5, text: "Grüße, 世界 🌍\n\u0000" }));
  await asked("publish", heard.subscription.publish(["a", null]));
  const said = [{ n: 1.5, text: "Grüße, 世界 🌍\n\u0000" }, ["a", null]];
  for (const data of said) {
    same(await bareHeard.next(), JSON.stringify(data), "what a bare WebSocket hears");
    for (const inbox of [heard, others]) same((await inbox.next()).data, data, "a publication");
  }
  // From bare ones to everybody: JSON as it is, other text as a string, binary as a URL.
  const blob = "data:application/octet-stream;base64,AP/+";
  for (const [sent, data] of [['{"m": 2}', { m: 2 }], ['no "JSON"', 'no "JSON"'], [Buffer.from([0, 255, 254]), blob]]) {
    bare.send(sent);
    same(await bareHeard.next(), typeof sent === "string" ? sent : [...sent], "a bare WebSocket's own message");
    for (const inbox of [heard, others]) same((await inbox.next()).data, data, "a bare WebSocket's message");
    said.push(data);
  }

  const history = (options) => asked("history", heard.subscription.history(options));
  const { epoch, offset, publications } = await history({ limit: 3 });
  same(offset, said.length, "the position of a history");
  same(publications.map(({ data }) => data), said.slice(0, 3), "history from the start");
  const wanted = async (options) => (await history(options)).publications.map(({ offset }) => offset);
  same(await wanted({ limit: 2, reverse: true }), [5, 4], "history from the end");
  same(await wanted({ limit: 2, since: { epoch, offset: 2 } }), [3, 4], "history since a message");
  same(await wanted({ limit: 9, since: { epoch, offset: 3 }, reverse: true }), [2, 1], "history before a message");
  same(await wanted({ limit: -1 }), [1, 2, 3, 4, 5], "all history");
  same(await wanted({ limit: 0 }), [], "no history");

  const refused = await within(DEADLINE_MS, "a refusal", ben.rpc("do", {}).catch((error) => error));
  same(refused.code, 108, "the code of a refusal");
  others.subscription.unsubscribe();
  const left = await asked("presenceStats", anna.presenceStats(topic));
  // The bare one may count, too.
  if (![1, 2].includes(left.numClients)) throw new Error(`${left.numClients} are present after one left`);
  same((await asked("presence", anna.presence(topic))).clients[ben.id], undefined, "the presence of who left");
  same(others.left, 0, "publications that nobody sent");
  return { response: anna.sockets[0].response, heard: 2 * said.length };
}

// Its TCP connection is cut again and again while numbered messages are published: each comes once, in order.
async function isCutOff(url) {
  const [CUTS, RUN] = [20, 50];
  const [reader, writer] = [await connect(url), await connect(url)];
  const topic = `cut/off/${schemeOf(url)}`;
  const heard = await subscribe(reader, topic, RECOVERS);
  for (let cut = 0; cut < CUTS; cut += 1) {
    const back = event(heard.subscription, "subscribed");
    for (let at = 0; at < RUN; at += 1) {
      if (at === RUN / 2) reader.sockets.at(-1).terminate();
      await asked("publish", writer.publish(topic, { number: cut * RUN + at }));
    }
    const { wasRecovering, recovered } = await back;
    same([wasRecovering, recovered], [true, true], `recovery from cut ${cut}`);
  }
  for (let number = 0; number < CUTS * RUN; number += 1) {
    same((await heard.next()).data, { number }, "a publication of a connection that is cut off");
  }
  same([heard.left, reader.sockets.length], [0, CUTS + 1], "publications beyond, and connections");
  return CUTS * RUN;
}

// It is away for longer than the history lasts, and is told.
async function missesTooMuch(url) {
  const [reader, writer] = [await connect(url), await connect(url)];
  const topic = `gap/${schemeOf(url)}`;
  const heard = await subscribe(reader, topic, RECOVERS);
  let number = 0;
  const publish = async (count) => {
    for (; count > 0; count -= 1) await asked("publish", writer.publish(topic, (number += 1)));
  };
  const numbers = async (...expected) => {
    for (const number of expected) same((await heard.next()).data, number, "a publication around a gap");
  };
  await publish(3);
  await numbers(1, 2, 3);
  for (const [count, isRecovered] of [[8, true], [9, false]]) {
    reader.disconnect();
    await publish(count);
    const back = event(heard.subscription, "subscribed");
    reader.connect();
    const { wasRecovering, recovered } = await back;
    same([wasRecovering, recovered], [true, isRecovered], `recovery of ${count} messages from a history of 8`);
    if (isRecovered) await numbers(4, 5, 6, 7, 8, 9, 10, 11);
  }
  await publish(1);
  await numbers(21);
  same(heard.left, 0, "publications beyond");
  return 12;
}

// It stops reading while its topic moves on: it gets what the sockets between held, is unsubscribed, and subscribes anew.
async function isTooSlow(url) {
  const reader = await connect(url, { perMessageDeflate: false });
  const topic = `slow/${schemeOf(url)}`;
  const heard = await subscribe(reader, topic, RECOVERS);
  const [unsubscribed, back] = [event(heard.subscription, "subscribing"), event(heard.subscription, "subscribed")];
  reader.sockets[0].pause();
  // More than a connection's buffers hold on both ends.
  const COUNT = 400;
  const data = Buffer.from(noise(64 << 10)).toString("base64");
  for (let number = 1; number <= COUNT; number += 1) {
    const { result } = await call(url, "publish", { channel: topic, data: { number, data } });
    same(result?.offset, number, "the offset of a message");
  }
  reader.sockets[0].resume();
  same((await unsubscribed).code, 2500, "the code with which a slow client is unsubscribed");
  const { wasRecovering, recovered } = await back;
  same([wasRecovering, recovered], [true, false], "recovery of a slow client");
  const before = heard.left;
  for (let number = 1; number <= before; number += 1) {
    same((await heard.next()).data, { number, data }, "what a slow client got before the gap");
  }
  if (before >= COUNT - 8) throw new Error(`it was not slow: ${before} of ${COUNT} messages came`);
  await call(url, "publish", { channel: topic, data: "behind the gap" });
  const { data: next, offset } = await heard.next();
  same([next, offset], ["behind the gap", COUNT + 1], "what a slow client gets behind the gap");
  same([heard.left, reader.sockets.length], [0, 1], "publications beyond, and connections");
  return before + 1;
}

// What JSON's grammar allows and few can hold: it is passed on as it is, and no connection ends for it.
async function saysOddThings(url) {
  const [reader, writer] = [await connect(url), await connect(url)];
  const topic = `odd/${schemeOf(url)}`;
  const heard = await subscribe(reader, topic, RECOVERS);
  const [half, other] = ["\ud83d", "\ude00"];
  const things = [half, other, other + half, { [half]: [other, { [other]: half }] }, { "": { "": half } }];
  for (const data of things) {
    await asked("publish", writer.publish(topic, data));
    same((await heard.next()).data, data, "half an emoji");
  }
  // Clients in other languages write such numbers; here they are put into the text that the stock client sends.
  const socket = writer.sockets[0];
  const send = socket.send;
  socket.send = (text, ...rest) => send.call(socket, text.replace(/"number (.*?)"/g, "$1"), ...rest);
  for (const [number, value] of [["1e400", Infinity], ["-1E+400", -Infinity], ["1e-400", 0], ["-0", -0], ["1" + "0".repeat(400), Infinity]]) {
    await asked("publish", writer.publish(topic, [`number ${number}`]));
    const { data } = await heard.next();
    if (!Object.is(data[0], value)) throw new Error(`${number} came as ${data[0]}`);
    things.push(data);
  }
  const { publications } = await asked("history", heard.subscription.history({ limit: -1 }));
  same(publications.map(({ data }) => data), things, "a history of odd things");
  // Who missed them recovers them.
  const back = event(heard.subscription, "subscribed");
  reader.sockets[0].terminate();
  await asked("publish", writer.publish(topic, { [half]: "number 1e400" }));
  const { wasRecovering, recovered } = await back;
  same([wasRecovering, recovered], [true, true], "recovery of odd things");
  const [[key, value]] = Object.entries((await heard.next()).data);
  same([key, value === Infinity], [half, true], "an odd thing that was missed");
  // What cannot be is refused alone.
  const refused = await within(DEADLINE_MS, "a refusal", writer.publish(half, 1).catch((error) => error));
  same(refused.code, 107, "the code for a channel that is half an emoji");
  const deep = (depth) => (depth === 0 ? 0 : [deep(depth - 1)]);
  const tooDeep = await within(DEADLINE_MS, "a refusal", writer.publish(topic, deep(100)).catch((error) => error));
  same(tooDeep.code, 107, "the code for what is too deep");
  same([writer.state, writer.sockets.length, reader.sockets.length], ["connected", 1, 2], "connections");
  same(heard.left, 0, "publications beyond");
  return things.length + 1;
}

// It has as many subscriptions as it may, comes back with all of them in one message, and recovers each.
async function hearsAll(url, count) {
  const CUTS = 3;
  const [reader, writer] = [await connect(url), await connect(url)];
  const topics = Array.from({ length: count }, (_, at) => `hears/all/${schemeOf(url)}/${at}`);
  const all = await Promise.all(topics.map((topic) => subscribe(reader, topic, RECOVERS)));
  for (let cut = 1; cut <= CUTS; cut += 1) {
    const back = all.map(({ subscription }) => event(subscription, "subscribed"));
    reader.sockets.at(-1).terminate();
    writer.startBatching();
    const published = topics.map((topic) => asked("publish", writer.publish(topic, cut)));
    writer.stopBatching();
    await Promise.all(published);
    for (const { wasRecovering, recovered } of await Promise.all(back)) {
      same([wasRecovering, recovered], [true, true], `recovery of one of ${count} subscriptions`);
    }
    for (const heard of all) same((await heard.next()).data, cut, `a publication of one of ${count} topics`);
  }
  same(all.filter(({ left }) => left > 0).length, 0, "topics with publications beyond");
  same([reader.sockets.length, writer.sockets.length], [CUTS + 1, 1], "connections");
  return CUTS * count;
}

// The HTTP API's publish, broadcast, presence, history and disconnect, with the key and without.
async function usesTheApi(url) {
  const [anna, ben] = [await connect(url), await connect(url)];
  const topic = `api/${schemeOf(url)}`;
  const [heard, others] = [await subscribe(anna, topic), await subscribe(ben, topic)];
  for (const key of [undefined, "another"]) {
    const { status } = await post(url, "publish", { channel: topic, data: 0 }, key);
    same(status, 401, "the status for who has no key");
  }
  const { result } = await call(url, "publish", { channel: topic, data: { n: 1 } });
  same([result?.offset, typeof result?.epoch], [1, "string"], "the result of a publish");
  const several = await call(url, "broadcast", { channels: [topic, `${topic}/other`], data: 2 });
  same(several.result?.responses.map(({ result }) => result.offset), [2, 1], "the result of a broadcast");
  for (const inbox of [heard, others]) {
    for (const data of [{ n: 1 }, 2]) same((await inbox.next()).data, data, "what was published");
  }
  const { presence } = (await call(url, "presence", { channel: topic })).result;
  same(Object.keys(presence).sort(), [anna.id, ben.id].sort(), "presence");
  const stats = (await call(url, "presence_stats", { channel: topic })).result;
  same(stats, { num_clients: 2, num_users: 1 }, "presence_stats");
  const history = (await call(url, "history", { channel: topic, limit: 1, reverse: true })).result;
  same(history, { publications: [{ data: 2, offset: 2 }], epoch: result.epoch, offset: 2 }, "history");
  same((await call(url, "publish", { data: 1 })).error?.code, 107, "the code for a request without a channel");

  // Below 3500 it comes back by itself.
  const [away, back] = [event(anna, "connecting"), event(heard.subscription, "subscribed")];
  await call(url, "disconnect", { user: "", client: anna.id, disconnect: { code: 3000, reason: "come back" } });
  const { code, reason } = await away;
  same([code, reason], [3000, "come back"], "why it reconnects");
  await back;
  const [over, comesBack] = [event(anna, "disconnected"), anna.sockets.length];
  await call(url, "disconnect", { user: "", client: anna.id });
  same((await over).code, 3503, "the code with which it is ended");
  same([anna.state, anna.sockets.length], ["disconnected", comesBack], "its state, and its connections");
  same([ben.state, ben.sockets.length], ["connected", 1], "another's state, and its connections");
  return 4;
}

// Topics are a scheme's own: the server goes on from one to the next.
function schemeOf(url) {
  return url.split(":")[0];
}

// A client that is connected. `sockets` are its WebSockets, in order; `id` is what the server calls it.
async function connect(url, options = {}) {
  const sockets = [];
  class Recorded extends WebSocket {
    constructor(address, protocols) {
      super(address, protocols, { handshakeTimeout: DEADLINE_MS, ...options });
      this.once("upgrade", ({ headers }) => (this.response = headers["sec-websocket-extensions"] ?? ""));
      sockets.push(this);
    }
  }
  const client = new Centrifuge(`${url}/connection/websocket`, {
    websocket: Recorded,
    minReconnectDelay: 1,
    maxReconnectDelay: 20,
    timeout: DEADLINE_MS,
  });
  endings.push(() => client.disconnect());
  client.sockets = sockets;
  client.on("connected", ({ client: id }) => (client.id = id));
  const connected = event(client, "connected");
  client.connect();
  await connected;
  return client;
}

// What a client hears of a topic, once it is subscribed.
async function subscribe(client, topic, options) {
  const subscription = client.newSubscription(topic, options);
  const inbox = new Inbox(subscription);
  subscription.on("publication", (publication) => inbox.push(publication));
  const subscribed = event(subscription, "subscribed");
  subscription.subscribe();
  await subscribed;
  return inbox;
}

class Inbox {
  #arrived = [];
  #wake = () => {};

  constructor(subscription) {
    this.subscription = subscription;
  }

  push(message) {
    this.#arrived.push(message);
    this.#wake();
  }

  // How many came that nobody took yet.
  get left() {
    return this.#arrived.length;
  }

  async next() {
    if (this.#arrived.length === 0) {
      await within(DEADLINE_MS, "a message", new Promise((resolve) => (this.#wake = resolve)));
    }
    return this.#arrived.shift();
  }
}

// The next event of that name, from now on.
function event(emitter, name) {
  const next = within(DEADLINE_MS, `"${name}"`, new Promise((resolve) => emitter.once(name, resolve)));
  // Whoever fails before it is awaited has told more.
  next.catch(() => {});
  return next;
}

// An answer that is no error.
async function asked(what, answer) {
  try {
    return await within(DEADLINE_MS, what, answer);
  } catch (error) {
    throw new Error(`${what}: ${error.message ?? JSON.stringify(error)}`);
  }
}

function post(url, method, body, key) {
  return fetch(`${url.replace("ws", "http")}/api/${method}`, {
    method: "POST",
    headers: key ? { "X-API-Key": key } : {},
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(DEADLINE_MS),
  });
}

// What the HTTP API says to who has the key.
async function call(url, method, body) {
  const response = await post(url, method, body, API_KEY);
  const text = await response.text();
  if (response.status !== 200) throw new Error(`/api/${method}: ${response.status} ${text}`);
  return JSON.parse(text);
}

function same(got, expected, what) {
  const [left, right] = [got, expected].map((value) => JSON.stringify(value));
  if (left !== right) throw new Error(`${what}: ${left?.slice(0, 200)}, not ${right?.slice(0, 200)}`);
}

// A server of this run's own, with these flags; it ends with the run, however that ends.
async function serve(...flags) {
  const listens = ["--listen", "127.0.0.1:0", "--listen", "tls:127.0.0.1:0", "--tls-cert", CERT, "--tls-key", KEY];
  const server = spawn(BINARY, [...listens, "--compression", COMPRESSION, ...flags], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  process.on("exit", () => server.kill("SIGKILL"));
  process.on("SIGTERM", () => process.exit(143));
  const [line] = await within(DEADLINE_MS, "the server's first line", once(createInterface(server.stdout), "line"));
  const urls = ["ws", "wss"].map((scheme) => line.match(new RegExp(`\\b${scheme}://[0-9.]+:[0-9]+`))?.[0]);
  if (urls.includes(undefined)) throw new Error(`the server did not name a ws:// and a wss:// URL: ${line}`);
  const end = async () => {
    const ended = once(server, "exit");
    server.kill("SIGTERM");
    const [code, signal] = await within(DEADLINE_MS, "the server's end", ended);
    if (code !== 0) throw new Error(`the server ended with ${code ?? signal}`);
  };
  return { urls, end };
}

if (!BINARY) {
  skip(CLIENT, "not another server's protocol");
} else {
  const many = await serve("--max-subscriptions", "1000");
  const small = await serve("--history", "8", "--publish-key", API_KEY, "--client-publish", "on");
  for (const [at, url] of URLS.entries()) {
    await report(CLIENT, url, OFFER, async (row) => {
      const everyday = await everyDay(url);
      row.agreed = checkAgreed(everyday.response, OFFER, COMPRESSION);
      row.echoed = everyday.heard;
      row.echoed += await saysOddThings(url);
      row.echoed += await hearsAll(url, 128);
      row.echoed += await hearsAll(many.urls[at], 1000);
      row.echoed += await isCutOff(url);
      row.echoed += await missesTooMuch(small.urls[at]);
      row.echoed += await isTooSlow(small.urls[at]);
      row.echoed += await usesTheApi(small.urls[at]);
    });
    while (endings.length > 0) endings.pop()();
  }
  await small.end();
  await many.end();
}
process.exit();
