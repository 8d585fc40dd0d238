// The pages of the hub say by hash which script and which style they may run.
//
//   node tests/browser/policy.js    writes the hashes anew, after a page was changed

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

export const PAGES = ["page.html", "index.html"].map((name) => new URL(`../../src/app/hub/${name}`, import.meta.url));

// The page with the hashes that its script and its style have.
export function withHashes(html) {
  return ["script", "style"].reduce((text, tag) => {
    const inside = new RegExp(`<${tag}>([^]*)</${tag}>`).exec(html)[1];
    const hash = createHash("sha256").update(inside).digest("base64");
    return text.replace(new RegExp(`(${tag}-src 'sha256-)[^']*`), (_, start) => start + hash);
  }, html);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const page of PAGES) writeFileSync(page, withHashes(readFileSync(page, "utf8")));
}
