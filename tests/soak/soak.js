// The soak itself: who is there, what happens to them, and the verdict. tests/soak/run starts it.

import http from "node:http";
import net from "node:net";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Ledger } from "./ledger.js";
import { EVENTS, LINES, Poll, Socket, Stock, Stream, WebSocket } from "./readers.js";
import { Server, request } from "./server.js";
import { slope } from "./slope.js";

const SECONDS = Number(process.argv[2]);
const { SOAK_BINARY: BINARY, SOAK_OUT: OUT, SOAK_FAULT: FAULT = "" } = process.env;
const FAULTS = ["", "drop", "double", "reorder", "hold", "leak", "publish", "spin"];
if (!(SECONDS >= 60)) throw new Error("a soak takes 60 seconds at least");
if (!FAULTS.includes(FAULT)) throw new Error(`no such fault: ${FAULT}; there are ${FAULTS.slice(1).join(" ")}`);

const complaints = [];
const complain = (text) => {
  complaints.push(text);
  if (complaints.length <= 20) console.log(`  wrong: ${text}`);
};

// Topics, and what is published there: so many messages a second of so many bytes.
const TOPICS = [
  { name: "soak/small", rate: 40, bytes: 60 },
  { name: "soak/json", rate: 20, bytes: 1500 },
  { name: "soak/rare", rate: 1, bytes: 20_000 },
];
// More than its slow readers take.
const LARGE = { name: "soak/large", rate: 25, bytes: 128 << 10 };

const server = await Server.start(BINARY, OUT);
const tls = readFileSync(`${OUT}/dev-cert.pem`);
const secure = server.tls.replace("127.0.0.1", "localhost");
const began = performance.now();
const now = () => (performance.now() - began) / 1000;

// Each reader of each topic, one or more over each transport; the second of a kind is cut off again and again.
const readers = [];
const ledger = (name, options) => new Ledger(name, complain, options);
for (const { name } of TOPICS) {
  for (const at of [1, 2]) {
    const called = (transport) => ledger(`${transport} ${at} of ${name}`);
    readers.push(
      new Socket(server.plain, name, called("websocket"), { deflate: at === 2 }),
      new Socket(server.plain, name, called("meta"), { meta: true, deflate: at === 1 }),
      new Socket(secure, name, called("meta over TLS"), { meta: true, tls }),
      new Stream(server.plain, name, called("events"), { accept: EVENTS }),
      new Stream(secure, name, called("events over TLS"), { accept: EVENTS, tls }),
      new Stream(server.plain, name, called("lines"), { accept: LINES }),
      new Poll(server.plain, name, called("long-poll")),
      new Stock(server.plain, name, called("centrifuge"), { deflate: at === 2 }),
    );
  }
}
const slow = [
  new Socket(server.plain, LARGE.name, ledger("slow meta", { mayLose: true }), { meta: true }),
  new Stream(server.plain, LARGE.name, ledger("slow events", { mayLose: true }), { accept: EVENTS }),
  new Stream(server.plain, LARGE.name, ledger("slow lines", { mayLose: true }), { accept: LINES }),
];
readers.push(...slow);

// What is wrong on purpose.
if (FAULT === "drop" || FAULT === "double" || FAULT === "reorder") {
  const victim = readers[1].ledger;
  const take = victim.take.bind(victim);
  let held = null;
  victim.take = (number) => {
    if (number % 500 !== 250 && held === null) return take(number);
    if (FAULT === "double") [number, number].forEach(take);
    if (FAULT === "reorder") {
      if (held === null) return (held = number);
      [number, held].forEach(take);
      held = null;
    }
  };
}

// What goes on beside the readers, until it is told to end.
let isOver = false;
const doings = [];
const forever = (name, work) => {
  doings.push(
    (async () => {
      try {
        while (!isOver) await work();
      } catch (error) {
        complain(`${name}: ${error.stack}`);
      }
    })(),
  );
};
const pause = (seconds) => sleep(Math.max(0, Math.min(seconds * 1000, isOver ? 0 : Infinity)));
const counts = { published: 0, churned: 0, silent: 0, scrapes: 0, events: 0, reloads: 0, restarts: 0, presence: 0 };

// Before anybody comes.
await settle();
const atFirst = { descriptors: server.descriptors(), sleeps: await sleepsIn(3), ...(await server.metrics()) };

// Publishes numbered messages, at most one under way for each topic; `next` is the number of the next.
const agent = new http.Agent({ keepAlive: true });
function publish(topic) {
  const body = JSON.stringify({ n: topic.next, pad: "x".repeat(topic.bytes) });
  return new Promise((resolve, reject) => {
    const request = http.request(`http://${server.plain}/${topic.name}`, { method: "POST", agent }, (response) => {
      response.resume().on("end", () => (response.statusCode === 200 ? resolve() : reject(new Error(`${response.statusCode}`))));
      response.on("error", reject);
    });
    request.on("error", reject).end(body);
  });
}
let isPublishing = true;
const publishers = [...TOPICS, LARGE].map(async (topic) => {
  topic.next = 0;
  const start = performance.now();
  for (let due = 1; isPublishing; due += 1) {
    if (FAULT === "publish" && topic === TOPICS[1] && topic.next === 300) {
      // Another publishes there, a number that was: somebody hears it twice.
      await publish({ ...topic, next: 7 });
    }
    await publish(topic).then(
      () => (topic.next += 1),
      (error) => complain(`publishing to ${topic.name}: ${error.message}`),
    );
    counts.published += 1;
    await sleep(Math.max(0, start + (due * 1000) / topic.rate - performance.now()));
  }
});

readers.forEach((reader) => reader.start());

forever("cuts", async () => {
  await pause(0.5);
  // Those with odd numbers, one after another.
  const cuttable = readers.filter((reader) => reader.ledger.name.includes(" 2 of "));
  cuttable[Math.floor(Math.random() * cuttable.length)].cut();
});
forever("slow readers", async () => {
  slow.forEach((reader) => reader.pause());
  await pause(8);
  slow.forEach((reader) => reader.resume());
  await pause(0.2);
});
// Strangers: connect, echo, and leave in one way or another.
forever("churn", async () => {
  const some = Array.from({ length: 20 }, (_, at) => echo(at % 5));
  await Promise.all(some);
  counts.churned += some.length;
  await pause(0.2);
});
// Some ask for everything, and never read.
forever("who never read", async () => {
  const sockets = Array.from({ length: 10 }, () => {
    const socket = net.connect(Number(server.plain.split(":")[1]), "127.0.0.1");
    socket.on("error", () => {}).pause();
    socket.write(`GET /${LARGE.name}?since=all HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    return socket;
  });
  counts.silent += sockets.length;
  await pause(3);
  sockets.forEach((socket) => socket.resetAndDestroy());
});
// Two are there all the time, and a third comes and goes.
const residents = [1, 2].map(() => new WebSocket(`ws://${server.plain}/soak/room`));
await Promise.all(residents.map((socket) => new Promise((resolve) => socket.once("open", resolve))));
forever("presence", async () => {
  const { presence } = await api("presence", { channel: "soak/room" });
  const { num_clients: counted } = await api("presence_stats", { channel: "soak/room" });
  const clients = Object.keys(presence).length;
  if (![2, 3].includes(clients) || ![2, 3].includes(counted)) complain(`presence: ${clients} and ${counted}, not 2 or 3`);
  const visitor = new WebSocket(`ws://${server.plain}/soak/room`);
  await new Promise((resolve, reject) => visitor.once("open", resolve).once("error", reject));
  visitor.terminate();
  counts.presence += 1;
  await pause(0.5);
});
forever("scrapes", async () => {
  await server.metrics();
  for (const path of ["topics?limit=10", "connections?limit=100", "ready"]) {
    const { status } = await request(`http://${server.admin}/${path}`);
    if (status !== 200) complain(`/${path}: ${status}`);
  }
  counts.scrapes += 1;
  await pause(1);
});
// Joins and leaves, as an operator hears them.
const watcher = new Stream(server.admin, "events", { name: "events of the admin side", take() {}, gap() {}, complain }, { accept: LINES });
watcher.take = () => (counts.events += 1);
watcher.start();
if (FAULT === "leak") {
  let number = 0;
  forever("a leak", async () => {
    // Topics that nobody hears, each with a message, faster than they go.
    for (let at = 0; at < 50; at += 1) await publish({ name: `leak/${(number += 1)}`, next: 0, bytes: 4000 });
    await pause(0.1);
  });
}

// Memory, by image of the server: a restart begins with a new one.
const images = [[]];
let levelFrom = warmFrom();
forever("samples", async () => {
  await pause(1);
  if (now() >= levelFrom) images.at(-1).push([now(), server.status("VmRSS")]);
});
// Histories are as long as they get after a while, buffers as large, and the allocator has its pages.
function warmFrom() {
  return now() + Math.min(120, SECONDS * 0.4);
}
// Restarts are in the first part, so that the rest is one long run of samples; in an hour there are six.
const restarts = Array.from({ length: Math.max(2, Math.floor(SECONDS / 600)) }, (_, at) => at);
restarts.forEach((at) => (restarts[at] = 8 + (at * SECONDS * 0.3) / restarts.length));
forever("signals", async () => {
  await pause(4);
  server.write(100 + counts.reloads);
  server.signal("SIGHUP");
  counts.reloads += 1;
  await until("a reload", () => server.logged("reloaded; changed") === counts.reloads);
  if (now() >= restarts[0]) {
    restarts.shift();
    server.signal("SIGUSR2");
    counts.restarts += 1;
    await until("a restart", () => server.logged("restarted ") === counts.restarts);
    images.push([]);
    levelFrom = warmFrom();
  }
  await pause(4);
});

const report = setInterval(() => {
  const had = readers.reduce((sum, reader) => sum + reader.ledger.had, 0);
  console.log(`  ${Math.round(now())} s: ${had} deliveries, ${server.status("VmRSS")} KiB, ${server.descriptors()} descriptors`);
}, Math.max(10_000, SECONDS * 50));
while (now() < SECONDS && server.ended === undefined && complaints.length < 100) await sleep(200);

// The end: nothing more is published, everybody reads what is left, and leaves.
isPublishing = false;
await Promise.all(publishers);
isOver = true;
await Promise.all(doings);
clearInterval(report);
slow.forEach((reader) => reader.resume());
const due = (reader) => [...TOPICS, LARGE].find(({ name }) => name === reader.topic).next;
await until("the last messages", () => readers.every((reader) => reader.ledger.isAt(due(reader))), 30).catch(() => {});
for (const reader of readers) {
  if (!reader.ledger.isAt(due(reader))) complain(`${reader.ledger.name}: ends at ${reader.ledger.next}, not ${due(reader)}`);
}
readers.forEach((reader) => reader.stop());
residents.forEach((socket) => socket.terminate());
watcher.stop();
agent.destroy();

// Who holds on, and reads nothing: stopped, so that nothing ends it.
const holder = FAULT === "hold" ? spawn(BINARY, ["sub", `ws://${server.plain}/soak/held`], { stdio: "ignore" }) : null;
if (holder) {
  await sleep(500);
  holder.kill("SIGSTOP");
}
await settle();
const spinner = FAULT === "spin" ? setInterval(() => echo(0), 20) : null;
const atLast = { descriptors: server.descriptors(), sleeps: await sleepsIn(3), ...(await server.metrics()) };
clearInterval(spinner);
holder?.kill("SIGKILL");

const verdicts = [];
const verdict = (name, isRight, text) => {
  verdicts.push(isRight);
  console.log(`${isRight ? "ok  " : "WRONG"} ${name}: ${text}`);
};
const sum = (list, field) => list.reduce((sum, reader) => sum + reader.ledger[field], 0);
const quick = readers.filter((reader) => !slow.includes(reader));
console.log(`soak of ${Math.round(now())} s: ${JSON.stringify(counts)}`);
for (const kind of new Set(quick.map((reader) => reader.ledger.name.replace(/ \d of .*/, "")))) {
  const those = quick.filter((reader) => /^(.*) \d of /.exec(reader.ledger.name)[1] === kind);
  const opened = those.reduce((sum, reader) => sum + reader.opened, 0);
  console.log(`     ${kind}: ${sum(those, "had")} messages over ${opened} connections`);
}
verdict("messages", complaints.length === 0, `${sum(readers, "had")} delivered, ${complaints.length} complaints`);
const declared = `${sum(slow, "had")} had, ${sum(slow, "lost")} lost in ${sum(slow, "gaps")} declared gaps`;
verdict("slow readers", sum(slow, "gaps") > 0, `${declared}; other readers have none`);
const line = slope(images.filter((run) => run.length > 10));
if (line === null) {
  verdict("memory", false, "too few samples");
} else {
  const { low, high, degrees, mean, seconds } = line;
  const figures = [line.slope, low, high].map((it) => (it * 60).toFixed(1));
  const isTold = low > 0 || high < 0;
  // A slope that is certain and comes to next to nothing over the whole time is no leak but an allocator's pages, of which it still
  // takes some in the first minutes.
  const isGrowth = low > 0 && line.slope * seconds > mean * (seconds < 300 ? 0.03 : 0.01);
  verdict(
    "memory",
    !isGrowth,
    `${Math.round(mean)} KiB, slope ${figures[0]} KiB/min, 95 % between ${figures[1]} and ${figures[2]} (${degrees} degrees of freedom, ` +
      `${Math.round(seconds)} s): ${isTold ? "told apart from zero" : "not told apart from zero"}`,
  );
}
verdict("descriptors", atLast.descriptors === atFirst.descriptors, `${atFirst.descriptors} before, ${atLast.descriptors} after`);
const places = ["clients", "subscriptions"].map((name) => `${name} ${atFirst[name]} and ${atLast[name]}`).join(", ");
verdict("places", atLast.clients === 0 && atLast.subscriptions === 0, places);
// There is no gauge of timers: one that is left wakes the loop. Trimming wakes it every few seconds, and is there before, too.
const wakes = `the idle loop woke up ${atFirst.sleeps} times in 3 s before, ${atLast.sleeps} after`;
verdict("timers", atLast.sleeps <= atFirst.sleeps + 8, wakes);
verdict("signals", counts.restarts >= 2 && counts.reloads >= 3, `${counts.reloads} reloads, ${counts.restarts} restarts`);
verdict("end", await server.end(), `SIGTERM, exit code ${server.ended}`);
const passed = verdicts.every(Boolean);
console.log(`soak: ${passed ? "passed" : "FAILED"}`);
process.exit(passed ? 0 : 1);

// One stranger: an echo, and its end in one of five ways.
async function echo(way) {
  const socket = new WebSocket(`ws://${server.plain}/echo`, { perMessageDeflate: way === 3 });
  const text = `${Math.random()} `.repeat(way === 4 ? 2000 : 1);
  await new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.once("open", () => socket.send(text));
    socket.once("message", (data) => (data.toString() === text ? resolve() : reject(new Error("not what was said"))));
    socket.once("close", (code) => reject(new Error(`closed with ${code}`)));
  });
  socket.removeAllListeners("close");
  if (way === 0) socket.terminate();
  else if (way === 1) socket._socket.resetAndDestroy();
  else await new Promise((resolve) => socket.once("close", resolve).close(1000));
}

async function api(method, body) {
  return JSON.parse((await request(`http://${server.plain}/api/${method}`, JSON.stringify(body))).text).result;
}

// Waits until nobody is connected, and topics had their time to go.
async function settle() {
  await until("the last client to be gone", async () => (await server.metrics()).clients === 0, 20).catch(() => {});
  await sleep(1000);
}

// How often the server's loop wakes up in so many seconds of nothing.
async function sleepsIn(seconds) {
  const before = server.sleeps();
  await sleep(seconds * 1000);
  return server.sleeps() - before;
}

async function until(what, isSo, seconds = 20) {
  for (const end = performance.now() + seconds * 1000; !(await isSo()); await sleep(50)) {
    if (server.ended !== undefined) throw new Error(`the server ended with ${server.ended}`);
    if (performance.now() > end) throw new Error(`no ${what} within ${seconds} s`);
  }
}
