// The hub's built-in pages as a real browser runs them: over each transport, from one to the next,
// across a restart, and with what strangers may put into a message.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { openPage, startPages, startProxy, startServer, startServerAt } from "./harness.js";
import { PAGES, withHashes } from "./policy.js";

const DEADLINE_MS = 60_000;
const STEP_MS = 20_000;
const limited = { timeout: DEADLINE_MS };
const TRANSPORTS = ["ws", "sse", "poll"];

// What makes the server a hub, if it is none by default: WSFAST_HUB_ARGS="--flag value".
const HUB = (process.env.WSFAST_HUB_ARGS ?? "").split(" ").filter(Boolean);

test("two pages on one topic talk to each other", limited, async (t) => {
  const [server, anna, ben] = await Promise.all([startServer(t, ...HUB), openPage(t), openPage(t)]);
  await Promise.all([join(anna, server.port, "/chat"), join(ben, server.port, "/elsewhere?topic=chat")]);

  await say(anna, "Hello, Ben");
  await shows(ben, ["Hello, Ben"]);
  await say(ben, "Grüße, 世界 🌍");
  await shows(anna, ["Hello, Ben", "Grüße, 世界 🌍"]);
  await shows(ben, ["Hello, Ben", "Grüße, 世界 🌍"]);

  assert.match(await anna.textContent("#latency"), /^\d+\.\d ms$/);
  assert.equal(await anna.locator(".row.mine").count(), 1, "only its own message is marked as sent from here");
  assert.equal(await anna.textContent("#transport"), "WebSocket");
});

test("a page that joins late shows what was said before", limited, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  await publishNumbers(server.port, "/chat", 1, 3);

  await join(page, server.port, "/chat");
  await shows(page, numbers(1, 3));
});

for (const transport of TRANSPORTS) {
  test(`over ${transport} every kind of message comes as it was sent`, limited, async (t) => {
    const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
    await join(page, server.port, `/all?transport=${transport}`);
    assert.equal(await page.getAttribute("body", "data-transport"), transport);

    const texts = ["plain", "two\nlines\n", " leading and trailing ", "", "id: x:9\n\ndata: y", "世界 🌍 \u0000 ﷺ"];
    for (const text of texts) await publish(server.port, "/all", text);
    await shows(page, texts);

    const { id } = await publish(server.port, "/all", Uint8Array.of(0, 10, 10, 255), "application/octet-stream");
    await page.waitForSelector(`[data-id="${id}"]`);
    assert.equal(await page.textContent(`[data-id="${id}"] pre`), "00 0a 0a ff");
    assert.match(await page.textContent(`[data-id="${id}"] small`), /binary, 4 bytes/);

    await say(page, "from the page");
    await shows(page, ["from the page"], texts.length + 1);
    assert.equal(await page.textContent("#gaps"), "none");
  });
}

test("a carriage return can't smuggle lines into the event stream", limited, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  await join(page, server.port, "/cr?transport=sse");

  const { id } = await publish(server.port, "/cr", "a\rid: x:9\r\revent: gap\r\ndata: b");
  await page.waitForSelector(`[data-id="${id}"]`);
  assert.equal(await page.textContent("#last"), id);
  assert.equal(await page.textContent("#gaps"), "none");
  assert.equal(await page.locator("[data-id]").count(), 1);
});

test("what WebSocket can't carry goes on over events, then by polling, and nothing is missed", limited, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  const proxy = await startProxy(t, server.port);
  const resumedFrom = { sse: [], poll: [] };
  page.on("request", (request) => {
    const { searchParams } = new URL(request.url());
    if (request.resourceType() === "eventsource") resumedFrom.sse.push(searchParams.get("since"));
    if (searchParams.has("wait")) resumedFrom.poll.push(request.headers()["if-none-match"]);
  });
  await join(page, proxy.port, "/stream");
  await publishNumbers(server.port, "/stream", 1, 50);
  await shows(page, numbers(1, 50));

  proxy.refused.add("ws");
  proxy.cut("ws");
  await publishNumbers(server.port, "/stream", 51, 120);
  await uses(page, "sse");
  await shows(page, numbers(1, 120));

  proxy.refused.add("sse");
  proxy.cut("sse");
  await publishNumbers(server.port, "/stream", 121, 200);
  await uses(page, "poll");
  await shows(page, numbers(1, 200));
  assert.equal(await page.textContent("#gaps"), "none");
  assert.equal(await page.textContent("#count"), "200");
  assert.match(resumedFrom.sse[0], /:50$/, "asks for what is new, not for all");
  assert.match(resumedFrom.poll[0], /:120"$/);

  await say(page, "still here");
  await shows(page, ["still here"], 200);
});

test("a proxy that answers neither upgrade nor event stream is found out", limited, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  const proxy = await startProxy(t, server.port);
  proxy.held.add("ws").add("sse");
  await publishNumbers(server.port, "/held", 1, 200);

  await page.goto(`http://127.0.0.1:${proxy.port}/held?since=all`);
  await uses(page, "poll");
  await shows(page, numbers(1, 200));
});

test("a browser without WebSocket and EventSource polls", limited, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  await page.addInitScript(() => {
    delete window.WebSocket;
    delete window.EventSource;
  });
  await page.goto(`http://127.0.0.1:${server.port}/bare`);
  await uses(page, "poll");
  await say(page, "hello");
  await shows(page, ["hello"]);
});

test("a refusal is shown with its reason, and not asked for again until told to", limited, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  const proxy = await startProxy(t, server.port);
  proxy.refused.add("ws").add("sse");
  let asked = 0;
  await page.route("**/*wait=*", (route) => {
    asked += 1;
    return route.fulfill({ status: 403, body: "this topic is not yours\n" });
  });
  await page.goto(`http://127.0.0.1:${proxy.port}/private`);
  await page.waitForFunction(() => document.body.dataset.state === "refused");
  assert.equal(await page.textContent("#state"), "refused: 403 this topic is not yours");
  assert.equal(asked, 1);

  proxy.refused.clear();
  await page.click("#again");
  await uses(page, "ws");
});

test("a message that is not taken is said to be, and is not lost", limited, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  await join(page, server.port, "/readonly?transport=sse");
  await page.route("**/readonly", (route) => route.fulfill({ status: 403, body: "publishing needs a key\n" }));
  await say(page, "may I?");
  await page.waitForSelector(".row.note");
  assert.equal(await page.textContent(".row.note"), "Not sent: 403 publishing needs a key");
  assert.equal(await page.inputValue("#text"), "may I?");
});

test("WebSocket is taken up again once it opens", limited, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  const proxy = await startProxy(t, server.port);
  await join(page, proxy.port, "/climb");
  proxy.refused.add("ws");
  proxy.cut("ws");
  // The topic was empty when the page joined, so it has no id to resume from.
  await publishNumbers(server.port, "/climb", 1, 10);
  await uses(page, "sse");
  await shows(page, numbers(1, 10));

  proxy.refused.delete("ws");
  await uses(page, "ws");
  await publishNumbers(server.port, "/climb", 11, 20);
  await shows(page, numbers(1, 20));
  assert.equal(await page.textContent("#gaps"), "none");
});

for (const transport of TRANSPORTS) {
  test(`over ${transport} a server that starts anew shows as a gap, not as silence`, limited, async (t) => {
    const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
    await join(page, server.port, `/restart?transport=${transport}`);
    await publishNumbers(server.port, "/restart", 1, 5);
    await shows(page, numbers(1, 5));

    await server.stop();
    await page.waitForFunction(() => document.body.dataset.state !== "open");
    const again = await startServerAt(t, server.port, ...HUB);
    await publishNumbers(again.port, "/restart", 6, 9);

    await shows(page, numbers(1, 9));
    await page.waitForFunction(() => document.body.dataset.state === "open");
    assert.equal(await page.locator("[data-gap]").count(), 1, "one gap, told once");
    assert.match(await page.textContent("#gaps"), /^1 \(/);
  });
}

test("a page that falls back while the server is down finds it again", limited, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  await join(page, server.port, "/down");
  await page.evaluate(() => {
    const { body } = document;
    window.tried = new Set();
    new MutationObserver(() => window.tried.add(body.dataset.transport)).observe(body, { attributes: true });
  });
  await server.stop();
  await page.waitForFunction(() => window.tried.has("poll"));

  const again = await startServerAt(t, server.port, ...HUB);
  await page.waitForFunction(() => document.body.dataset.state === "open");
  await publish(again.port, "/down", "back");
  await shows(page, ["back"]);
});

test("the seed's three lines hear what curl publishes", limited, async (t) => {
  const [server, pages, page] = await Promise.all([startServer(t, ...HUB), startPages(t), openPage(t)]);
  await page.goto(`http://localhost:${pages}/`);
  await page.evaluate(async (url) => {
    const ws = new WebSocket(url);
    window.heard = new Promise((resolve) => (ws.onmessage = (event) => resolve(event.data)));
    await new Promise((resolve) => (ws.onopen = resolve));
  }, `ws://127.0.0.1:${server.port}/xxoo`);

  // This is the type that `curl -d hello` states.
  const answer = await publish(server.port, "/xxoo", "hello", "application/x-www-form-urlencoded");
  assert.equal(answer.subscribers, 1);
  assert.equal(await page.evaluate(() => window.heard), "hello");
});

test("markup in a message or in a topic's name is text", limited, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  const markup = `<img src=x onerror="window.struck = 1"><script>window.struck = 2</script>`;
  const topic = markup.replaceAll("/", "");
  await join(page, server.port, `/chat?topic=${encodeURIComponent(topic)}`);
  assert.equal(await page.textContent("#topic"), `/${topic}`);

  await say(page, markup);
  await say(page, markup.repeat(20));
  await page.waitForFunction(() => document.querySelectorAll("[data-id]").length === 2);
  await page.click("summary >> nth=0");
  assert.equal(await page.textContent("[data-id] .text"), markup);
  assert.equal(await page.textContent("[data-id] details pre"), markup.repeat(20));
  assert.equal(await page.locator("img").count(), 0);
  assert.equal(await page.evaluate(() => window.struck), undefined);
});

test("on a phone nothing overflows, nothing is complained of, and nothing comes from elsewhere", limited, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  const origin = `http://127.0.0.1:${server.port}`;
  const complaints = [];
  const elsewhere = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => request.url().startsWith(`${origin}/`) || elsewhere.push(request.url()));
  page.on("websocket", (ws) => ws.url().startsWith(`${origin.replace("http", "ws")}/`) || elsewhere.push(ws.url()));

  await page.setViewportSize({ width: 360, height: 640 });
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await join(page, server.port, `/${"long-topic-name".repeat(8)}`);
    for (const text of ["W".repeat(300), "x".repeat(5_000), "one\ntwo\n".repeat(40)]) await say(page, text);
    await publish(server.port, `/${"long-topic-name".repeat(8)}`, new Uint8Array(4_000), "application/octet-stream");
    const awaited = colorScheme === "light" ? 4 : 8;
    await page.waitForFunction((count) => document.querySelectorAll("[data-id]").length === count, awaited);
    await page.click("#how > summary");
    assert.deepEqual(await overflow(page), [], colorScheme);

    await page.goto(`${origin}/`);
    assert.deepEqual(await overflow(page), [], colorScheme);
  }
  assert.deepEqual(complaints, []);
  assert.deepEqual(elsewhere, []);
});

test("a reader who scrolled up stays there, and is told of what is newer", limited, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  await join(page, server.port, "/scroll");
  await publishNumbers(server.port, "/scroll", 1, 80);
  await shows(page, numbers(1, 80));
  const isAtEnd = () => page.evaluate(() => {
    const log = document.getElementById("log");
    return log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  });
  assert.equal(await isAtEnd(), true);

  await page.evaluate(() => document.getElementById("log").scrollTo(0, 0));
  // The browser tells of scrolling with its next frame.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  await publish(server.port, "/scroll", "news");
  await page.waitForSelector("#newer:visible");
  assert.equal(await page.evaluate(() => document.getElementById("log").scrollTop), 0);

  await page.click("#newer");
  assert.equal(await isAtEnd(), true);
  assert.equal(await page.isVisible("#newer"), false);
});

test("a fast topic keeps its newest rows and counts them all", limited, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  await join(page, server.port, "/fast");
  await publishNumbers(server.port, "/fast", 1, 700);

  await shows(page, numbers(201, 700));
  assert.equal(await page.textContent("#count"), "700");
  assert.equal(await page.textContent("#gaps"), "none");
  await page.waitForFunction(() => document.getElementById("bars").getAttribute("d") !== "");
});

test("Enter sends, Shift+Enter is a new line, and the form works by keyboard alone", limited, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  await join(page, server.port, "/keys");
  await page.focus("#text");
  await page.keyboard.type("one");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("two");
  await page.keyboard.press("Enter");
  await shows(page, ["one\ntwo"]);

  await page.keyboard.press("Enter");
  await page.keyboard.type("three");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  await shows(page, ["one\ntwo", "three"]);
  assert.equal(await page.inputValue("#text"), "");
});

test("a token is passed on, in a header where one can be set, and never shown", limited, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  const seen = { ws: [], sse: [], poll: [], post: [] };
  page.on("websocket", (ws) => seen.ws.push(new URL(ws.url()).searchParams.get("token")));
  page.on("request", (request) => {
    const url = new URL(request.url());
    const bearer = request.headers().authorization;
    if (request.resourceType() === "eventsource") seen.sse.push(url.searchParams.get("token"));
    else if (request.method() === "POST") seen.post.push([bearer, url.searchParams.get("token")]);
    else if (url.searchParams.has("wait")) seen.poll.push([bearer, url.searchParams.get("token")]);
  });

  for (const transport of TRANSPORTS) {
    await page.goto(`http://127.0.0.1:${server.port}/token?token=s3cret&transport=${transport}`);
    await page.waitForFunction(() => document.body.dataset.state === "open");
  }
  await say(page, "hello");
  await page.waitForSelector("[data-id]");
  assert.equal(seen.ws[0], "s3cret");
  assert.equal(seen.sse[0], "s3cret");
  assert.deepEqual(seen.poll[0], ["Bearer s3cret", null]);
  assert.deepEqual(seen.post[0], ["Bearer s3cret", null]);
  assert.equal((await page.innerText("body")).includes("s3cret"), false);
});

test("the page at / says how to use this very server", limited, async (t) => {
  const [server, pages, page] = await Promise.all([startServer(t, ...HUB), startPages(t), openPage(t)]);
  await page.goto(`http://127.0.0.1:${server.port}/`);
  const lines = await page.textContent("pre >> nth=0");
  assert.match(lines, new RegExp(`new WebSocket\\("ws://127.0.0.1:${server.port}/chat"\\)`));

  await page.fill("#topic", "rooms/forty two");
  await page.press("#topic", "Enter");
  await page.waitForFunction(() => document.body.dataset.state === "open");
  assert.equal(new URL(page.url()).pathname, "/rooms/forty%20two");
  assert.equal(await page.textContent("#topic"), "/rooms/forty two");

  // The three lines do as they are written, on any page of this machine.
  await page.goto(`http://localhost:${pages}/`);
  const heard = await page.evaluate(
    (source) => new Promise((log) => new Function("console", `let ws; ${source}`)({ log })),
    lines,
  );
  assert.equal(heard, "hello");
});

test("the pages allow the very script and style that they have", () => {
  for (const page of PAGES) {
    const html = readFileSync(page, "utf8");
    assert.equal(html === withHashes(html), true, `run node tests/browser/policy.js: ${page.pathname}`);
  }
});

test("a picture for the documentation", { ...limited, skip: !process.env.WSFAST_SCREENSHOT && "WSFAST_SCREENSHOT names no file" }, async (t) => {
  const [server, page] = await Promise.all([startServer(t, ...HUB), openPage(t)]);
  await page.setViewportSize({ width: 760, height: 520 });
  await join(page, server.port, "/chat");
  for (let reading = 1; reading <= 60; reading += 1) {
    await publish(server.port, "/chat", `{"sensor":"hall","reading":${reading},"temperature":${20 + (reading % 7) / 10}}`);
    // The picture is to show a rate, so the readings take their time.
    await page.waitForTimeout(40 + 35 * (reading % 9));
  }
  await publish(server.port, "/chat", Uint8Array.from({ length: 24 }, (_, at) => at * 11), "application/octet-stream");
  await say(page, "Yes: a page, curl and a sensor.");
  await page.waitForFunction(() => document.querySelectorAll("[data-id]").length === 62);
  await page.screenshot({ path: process.env.WSFAST_SCREENSHOT });
  assert.equal(readFileSync(process.env.WSFAST_SCREENSHOT).length < 150 * 1024, true);
});

// Opens the built-in page at `path` and waits until it is connected.
async function join(page, port, path) {
  await page.goto(`http://127.0.0.1:${port}${path}`);
  await page.waitForFunction(() => document.body.dataset.state === "open");
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

async function publish(port, path, body, type = "text/plain; charset=utf-8") {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method: "POST", body, headers: { "Content-Type": type } });
  assert.equal(response.status, 200);
  return response.json();
}

// One after the other, so that they are numbered as the topic has them.
async function publishNumbers(port, path, from, to) {
  for (const number of numbers(from, to)) await publish(port, path, number);
}

const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => `number ${from + at}`);

// Waits until the page shows just these texts, in this order, behind `skipped` other messages.
async function shows(page, texts, skipped = 0) {
  const read = () => page.evaluate((from) => [...document.querySelectorAll("[data-id]")].slice(from)
    .map((row) => row.querySelector(".text")?.textContent ?? null), skipped);
  const deadline = Date.now() + STEP_MS;
  let shown = await read();
  while (!isDeepStrictEqual(shown, texts) && Date.now() < deadline) {
    await page.evaluate(() => new Promise(requestAnimationFrame));
    shown = await read();
  }
  assert.deepEqual(shown, texts);
}

async function uses(page, transport) {
  await page.waitForFunction(
    (name) => document.body.dataset.state === "open" && document.body.dataset.transport === name,
    transport,
    { timeout: STEP_MS },
  );
}

// What reaches past the right edge, or would have to be scrolled sideways.
async function overflow(page) {
  return page.evaluate(() => {
    const { clientWidth } = document.scrollingElement;
    const isWide = (one) => one.getBoundingClientRect().right > clientWidth + 1 || one.scrollWidth > one.clientWidth + 1;
    return [document.scrollingElement, ...document.querySelectorAll("body *")]
      .filter((one) => !one.closest("svg, .away") && getComputedStyle(one).display !== "inline" && isWide(one))
      .map((one) => `${one.tagName}#${one.id}`);
  });
}
