// The admin side from pages of other origins: they take its places, if they can, and the operator asks meanwhile.

import assert from "node:assert/strict";
import { test } from "node:test";
import { openPage, startPages, startServer } from "./harness.js";

const DEADLINE_MS = 60_000;
const ASK_DEADLINE_MS = 5_000;
// To the third Chromium sends no Sec-Fetch-Site.
const NAMES = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", ...Array.from({ length: 10 }, (_, at) => `n${at}.localhost`)];
const IMAGES_EACH = 6;

for (const from of ["localhost", "127.0.0.1", "foreign.test"]) {
  test(`a page of ${from} keeps nobody from asking`, { timeout: DEADLINE_MS }, async (t) => {
    const [server, pages, page] = await Promise.all([startServer(t, "--admin", "127.0.0.1:0"), startPages(t), openPage(t)]);
    const [, admin] = await server.said(/to watch over it: (http:\S+) /);
    const { port } = new URL(admin);
    const statuses = [];
    let failed = 0;
    page.on("response", (response) => {
      if (new URL(response.url()).port === port) statuses.push(response.status());
    });
    page.on("requestfailed", () => (failed += 1));

    await page.goto(`http://${from}:${pages}/`);
    await page.evaluate(
      ({ names, port, count }) => {
        for (const name of names) {
          // Connections that ask for nothing, too.
          const hint = document.createElement("link");
          Object.assign(hint, { rel: "preconnect", href: `http://${name}:${port}` });
          document.head.append(hint);
          for (let at = 0; at < count; at += 1) {
            for (const target of [`events?wait=300&n=${at}`, `ready?n=${at}`]) {
              document.body.append(Object.assign(new Image(), { src: `http://${name}:${port}/${target}` }));
            }
          }
          new WebSocket(`ws://${name}:${port}/events`);
          new EventSource(`http://${name}:${port}/events`);
        }
      },
      { names: NAMES, port, count: IMAGES_EACH },
    );

    // Until all images have come to their end, and for so many of the operator's questions.
    const images = NAMES.length * IMAGES_EACH * 2;
    const deadline = Date.now() + DEADLINE_MS / 2;
    let rounds = 0;
    while ((statuses.length + failed < images || rounds < 50) && Date.now() < deadline) {
      for (const path of ["/ready", "/metrics"]) {
        const response = await fetch(`${admin}${path}`, {
          headers: { Connection: "close" },
          signal: AbortSignal.timeout(ASK_DEADLINE_MS),
        });
        assert.equal(response.status, 200, path);
        await response.arrayBuffer();
      }
      rounds += 1;
    }
    t.diagnostic(`${rounds} rounds of questions; ${statuses.length} answers, ${failed} requests without`);
    assert.ok(statuses.length > 0, "the page came through to it");
    assert.deepEqual(statuses.filter((status) => status !== 403), [], "all are refused");
  });
}

test("the operator's own browser is served, by a typed address", { timeout: DEADLINE_MS }, async (t) => {
  const [server, page] = await Promise.all([startServer(t, "--admin", "127.0.0.1:0"), openPage(t)]);
  const [, admin] = await server.said(/to watch over it: (http:\S+) /);

  const response = await page.goto(`${admin}/connections`);
  assert.equal(response.status(), 200);
  const status = await page.evaluate(async () => (await fetch("/topics")).status);
  assert.equal(status, 200, "and what a page of its own asks for");
});
