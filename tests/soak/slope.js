// Whether something grows: the slope of a line through samples, with its confidence interval.
// Pure functions.

// `runs` are lists of [seconds, value], one for each image of the server: they share a slope, and each has a level of its own.
// Samples that are near in time resemble each other, so that each counts less than a sample: means of blocks stand for them.
// Returns { slope, low, high, degrees, mean } per second with 95 %, or null if there are too few.
export function slope(runs) {
  const seconds = runs.reduce((sum, run) => sum + (run.length > 1 ? run.at(-1)[0] - run[0][0] : 0), 0);
  const block = Math.max(seconds / BLOCKS, 1);
  const blocked = runs.map((run) => means(run, block)).filter((run) => run.length >= 2);
  const points = blocked.reduce((sum, run) => sum + run.length, 0);
  const degrees = points - blocked.length - 1;
  if (degrees < 3) return null;
  let [xx, xy] = [0, 0];
  const centred = blocked.flatMap((run) => {
    const [x0, y0] = [0, 1].map((at) => run.reduce((sum, point) => sum + point[at], 0) / run.length);
    return run.map(([x, y]) => [x - x0, y - y0]);
  });
  for (const [x, y] of centred) [xx, xy] = [xx + x * x, xy + x * y];
  const slope = xy / xx;
  const rest = centred.reduce((sum, [x, y]) => sum + (y - slope * x) ** 2, 0);
  const half = student(degrees) * Math.sqrt(rest / degrees / xx);
  const all = runs.flat();
  const mean = all.reduce((sum, [, value]) => sum + value, 0) / all.length;
  return { slope, low: slope - half, high: slope + half, degrees, mean, seconds };
}

// The means of blocks of `length` seconds; a rest at the end is left out.
function means(run, length) {
  const blocks = [];
  for (let from = run[0]?.[0]; from !== undefined && from + length <= run.at(-1)[0] + 1e-9; from += length) {
    const block = run.filter(([at]) => at >= from && at < from + length);
    if (block.length > 0) blocks.push([0, 1].map((at) => block.reduce((sum, point) => sum + point[at], 0) / block.length));
  }
  return blocks;
}

// Student's t for 95 % on both sides, to three digits (Cornish and Fisher's expansion, from three degrees on).
function student(degrees) {
  const z = 1.959964;
  const [a, b, c] = [z ** 3 + z, 5 * z ** 5 + 16 * z ** 3 + 3 * z, 3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z];
  return z + a / (4 * degrees) + b / (96 * degrees ** 2) + c / (384 * degrees ** 3);
}

const BLOCKS = 20;
