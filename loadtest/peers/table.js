// A Markdown table of comparisons: PEER=FILE.json for each row.
import { readFileSync } from "node:fs";

const FIGURES = ["latency.p50", "latency.p99", "server.cpu_per_message"];

const times = (ratio) => `${ratio.toFixed(2)}×`;

function cell(figure) {
  if (!figure) return "–";
  const { ratio, ratio_from: from, ratio_to: to } = figure.difference;
  const interval = from === null ? "" : ` [${from.toFixed(2)}, ${to.toFixed(2)}]`;
  const value = times(ratio) + interval;
  return figure.differs ? `**${value}**` : value;
}

const floor = (figure) => (figure ? `${times(figure.floor.ratio)} (p ${figure.floor.p_adjusted.toFixed(2)})` : "–");

console.log("| B | p50, B over wsfast | p99 | server CPU per message | wsfast over itself: CPU | verdict |");
console.log("| --- | --- | --- | --- | --- | --- |");
for (const argument of process.argv.slice(2)) {
  const [peer, file] = argument.split("=", 2);
  const comparison = JSON.parse(readFileSync(file, "utf8"));
  const figures = FIGURES.map((name) => comparison.figures.find((figure) => figure.name === name));
  const cells = [peer, ...figures.map(cell), floor(figures[2]), comparison.verdict];
  console.log(`| ${cells.join(" | ")} |`);
}
