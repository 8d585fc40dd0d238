// A real Chromium, in which cases.js runs as part of a page. The page's origin is localhost, as the server allows.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { checkAgreed } from "./cases.js";
import { COMPRESSION, URLS, report } from "./report.js";

const pages = createServer((request, response) => {
  const isScript = request.url === "/cases.js";
  const body = isScript ? readFileSync(new URL("cases.js", import.meta.url)) : "<!doctype html>";
  response.writeHead(200, { "Content-Type": isScript ? "text/javascript" : "text/html", Connection: "close" }).end(body);
});
pages.listen(0, "127.0.0.1");
await once(pages, "listening");

const profile = mkdtempSync(join(tmpdir(), "wsfast-interop-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
  ],
});
try {
  const client = `chromium ${context.browser()?.version() ?? ""}`.trim();
  const page = context.pages()[0] ?? (await context.newPage());
  await page.goto(`http://localhost:${pages.address().port}/`);
  for (const url of URLS) {
    const offer = { client_max_window_bits: true };
    await report(client, url, offer, async (row) => {
      const seen = await page.evaluate(async (url) => {
        const { exercise, standardPeer } = await import("/cases.js");
        const peer = await standardPeer(url);
        return { response: peer.response, echoed: await exercise(peer) };
      }, url);
      row.agreed = checkAgreed(seen.response, offer, COMPRESSION);
      row.echoed = seen.echoed;
    });
  }
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  pages.close();
}
