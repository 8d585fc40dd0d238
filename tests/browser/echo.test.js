// The server as a real browser sees it: pages come from one origin, the socket goes to another.

import assert from "node:assert/strict";
import { test } from "node:test";
import { openPage, startPages, startServer } from "./harness.js";

const DEADLINE_MS = 60_000;

test("the seed's page opens, sends, receives and closes", { timeout: DEADLINE_MS }, async (t) => {
  const [server, pages, page] = await Promise.all([startServer(t), startPages(t), openPage(t)]);

  await page.goto(`http://localhost:${pages}/seed.html?port=${server.port}`);
  await page.waitForFunction(() => window.events?.at(-1)?.name === "close");

  const events = await page.evaluate(() => window.events);
  assert.deepEqual(events.map((event) => event.name), ["open", "message", "close"]);
  assert.equal(events[1].data, "hello");
  assert.equal(events[2].wasClean, true);
  assert.equal(events[2].code, 1005, "close() without a code is answered without one");
});

test("text and binary messages come back as they were", { timeout: DEADLINE_MS }, async (t) => {
  const [server, pages, page] = await Promise.all([startServer(t), startPages(t), openPage(t)]);

  await page.goto(`http://localhost:${pages}/`);
  const seen = await page.evaluate(async (url) => {
    const ws = new WebSocket(url);
    ws.binaryType = "arraybuffer";
    const next = (name) => new Promise((resolve) => ws.addEventListener(name, resolve, { once: true }));
    await next("open");

    const echo = async (data) => {
      ws.send(data);
      return (await next("message")).data;
    };
    const texts = ["", "hello", "Grüße, 世界 🌍 \u0000 ﷺ", "回".repeat(40_000)];
    const textsEqual = [];
    for (const text of texts) textsEqual.push((await echo(text)) === text);

    const sent = Uint8Array.from({ length: 100 * 1024 }, (_, at) => (at * 131 + (at >> 8)) & 255);
    const received = await echo(sent.buffer);
    const binaryEqual =
      received instanceof ArrayBuffer &&
      received.byteLength === sent.length &&
      new Uint8Array(received).every((byte, at) => byte === sent[at]);

    ws.close(1000, "done");
    const { code, reason, wasClean } = await next("close");
    return { textsEqual, binaryEqual, close: { code, reason, wasClean } };
  }, `ws://127.0.0.1:${server.port}/xxoo`);

  assert.deepEqual(seen.textsEqual, [true, true, true, true]);
  assert.equal(seen.binaryEqual, true);
  assert.equal(seen.close.wasClean, true);
  assert.equal(seen.close.code, 1000);
});

test("every loopback name is a welcome origin", { timeout: DEADLINE_MS }, async (t) => {
  const [server, pages, page] = await Promise.all([startServer(t), startPages(t), openPage(t)]);

  for (const host of ["localhost", "127.0.0.1", "[::1]"]) {
    const outcome = await connectFrom(page, `http://${host}:${pages}`, server.port);
    assert.deepEqual(outcome.events, ["open", "close"], host);
    assert.equal(outcome.status, 101, host);
  }
});

test("a foreign origin is refused with 403", { timeout: DEADLINE_MS }, async (t) => {
  const [server, pages, page] = await Promise.all([startServer(t), startPages(t), openPage(t)]);

  const outcome = await connectFrom(page, `http://foreign.test:${pages}`, server.port);
  assert.deepEqual(outcome.events, ["error", "close"]);
  assert.equal(outcome.close.code, 1006);
  assert.equal(outcome.close.wasClean, false);
  assert.equal(outcome.status, 403);
});

test("a foreign origin that was named is served", { timeout: DEADLINE_MS }, async (t) => {
  const [pages, page] = await Promise.all([startPages(t), openPage(t)]);
  const origin = `http://foreign.test:${pages}`;
  const server = await startServer(t, "--allow-origin", origin);

  const outcome = await connectFrom(page, origin, server.port);
  assert.deepEqual(outcome.events, ["open", "close"]);
  assert.equal(outcome.close.code, 1000);
  assert.equal(outcome.close.wasClean, true);
  assert.equal(outcome.status, 101);
});

test("a server that ends says 1001 to its peers", { timeout: DEADLINE_MS }, async (t) => {
  const [server, pages, page] = await Promise.all([startServer(t), startPages(t), openPage(t)]);

  await page.goto(`http://localhost:${pages}/`);
  await page.evaluate(async (url) => {
    const ws = new WebSocket(url);
    const next = (name) => new Promise((resolve) => ws.addEventListener(name, resolve, { once: true }));
    window.lastClose = next("close");
    await next("open");
  }, `ws://127.0.0.1:${server.port}/xxoo`);

  const end = await server.stop();
  const close = await page.evaluate(async () => {
    const { code, wasClean } = await window.lastClose;
    return { code, wasClean };
  });
  assert.deepEqual(close, { code: 1001, wasClean: true });
  assert.deepEqual(end, { code: 0, signal: null });
});

// Opens a socket from a page of `origin` and closes it with 1000: the events in order, the close
// event, and the status that the handshake was answered with (which the page itself cannot see).
async function connectFrom(page, origin, port) {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Network.enable");
  const answered = new Promise((resolve) => {
    devtools.once("Network.webSocketHandshakeResponseReceived", ({ response }) => resolve(response.status));
    devtools.once("Network.webSocketFrameError", ({ errorMessage }) => {
      resolve(Number(/Unexpected response code: (\d+)/.exec(errorMessage)?.[1] ?? NaN));
    });
  });

  await page.goto(`${origin}/`);
  const outcome = await page.evaluate(
    (url) =>
      new Promise((resolve) => {
        const events = [];
        const ws = new WebSocket(url);
        ws.onopen = () => { events.push("open"); ws.close(1000); };
        ws.onerror = () => events.push("error");
        ws.onclose = ({ code, wasClean }) => {
          events.push("close");
          resolve({ events, close: { code, wasClean } });
        };
      }),
    `ws://127.0.0.1:${port}/xxoo`,
  );
  const status = await answered;
  await devtools.detach();
  return { ...outcome, status };
}
