// Prints the results, a line each, then a line for each client; fails if one is wrong, or one that is due is missing.
// In the lines, s and c stand for server and client, nct for no_context_takeover, bits for max_window_bits.
//
//   node table.js FILE...    files of JSON lines, as the clients write them

import { readFileSync } from "node:fs";

const CLIENTS = process.env.INTEROP_CLIENTS.split(" ");
const MODES = process.env.INTEROP_MODES.split(" ");

const rows = process.argv
  .slice(2)
  .flatMap((file) => readFileSync(file, "utf8").split("\n"))
  .filter(Boolean)
  .map((line) => JSON.parse(line));

const cells = [["compression", "client", "scheme", "offered", "agreed", "echoes", "result"]];
for (const row of rows) {
  const result = row.skipped ? `skipped: ${row.skipped}` : row.ok ? "ok" : `FAILED: ${row.error}`;
  const { compression, client, scheme = "", echoed = "" } = row;
  cells.push([compression, client, scheme, short(row.offer), short(row.agreed), `${echoed}`, result]);
}
const widths = cells[0].map((_, at) => Math.max(...cells.map((row) => row[at].length)));
for (const row of cells) console.log(row.map((cell, at) => cell.padEnd(widths[at])).join("  ").trimEnd());
console.log();

let failed = 0;
for (const mode of MODES) {
  for (const name of CLIENTS) {
    const its = rows.filter((row) => row.compression === mode && row.client.split(" ")[0] === name);
    const [skipped] = its.filter((row) => row.skipped);
    if (skipped) {
      console.log(`interop: ${mode} ${skipped.client}: skipped, ${skipped.skipped}`);
      continue;
    }
    const good = its.filter((row) => row.ok);
    const agreed = good.filter((row) => row.agreed.startsWith("permessage-deflate"));
    const hasBoth = ["ws", "wss"].every((scheme) => good.some((row) => row.scheme === scheme));
    const verdict = hasBoth && good.length === its.length ? "ok" : "FAILED";
    if (verdict !== "ok") failed += 1;
    const client = its[0]?.client ?? `${name}: nothing told`;
    console.log(
      `interop: ${mode} ${client}: ${verdict}, ${good.length} of ${its.length} connections (ws and wss), ` +
        `${agreed.length} with permessage-deflate`,
    );
  }
}
process.exitCode = failed > 0 ? 1 : 0;

function short(parameters = "") {
  return parameters
    .replace("permessage-deflate", "deflate")
    .replaceAll("server_", "s-")
    .replaceAll("client_", "c-")
    .replaceAll("no_context_takeover", "nct")
    .replaceAll("max_window_bits", "bits");
}
