/**
 * Scaling of grey values of more than 8 bits to 0 to 255, as `fracture_edge/images/levels.py` and `grey.py` do it.
 */
import { roundHalfEven } from "./format.js";

const SMALLEST = 2 ** -149;

/**
 * Find the range of values without isolated extreme ones.
 * @param {object} rules Contract with the program.
 * @param {Float64Array} levels Values in ascending order.
 * @param {Float64Array} counts Number of pixels of each.
 * @returns {[number, number]} Lowest and highest value that belong to the picture.
 */
export function robustRange(rules, levels, counts) {
  for (let round = 0; round < rules.levels.rounds; round++) {
    const last = lastOfPicture(rules.levels, levels, counts);
    const first =
      levels.length -
      1 -
      lastOfPicture(rules.levels, levels.map((level) => -level).reverse(), counts.slice().reverse());
    if (last <= first || (first === 0 && last === levels.length - 1)) break;
    levels = levels.slice(first, last + 1);
    counts = counts.slice(first, last + 1);
  }
  return [levels[0], levels[levels.length - 1]];
}

/** Return the index of the highest level that belongs to the picture. */
function lastOfPicture({ gap, few, most, same }, levels, counts) {
  const end = levels.length - 1;
  const high = levels[end];
  const extent = high - levels[0];
  const ends = firstAbove(levels, high - gap * extent);
  if (extent <= 0 || ends === 0) return end;
  const upTo = new Float64Array(levels.length);
  let total = 0;
  counts.forEach((count, i) => (upTo[i] = total += count));
  for (let i = ends - 1; i >= 0; i--) {
    const within = firstAbove(levels, levels[i] + gap * extent) - 1;
    const beyond = levels[Math.min(within + 1, end)];
    const above = total - upTo[i];
    const isGap = upTo[within] - upTo[i] <= few * total;
    const isIsolated = above <= few * total || (above <= most * total && beyond >= high - same * extent);
    if (isGap && isIsolated) return i;
  }
  return end;
}

/** Return the index of the first level above a value. */
function firstAbove(levels, value) {
  let low = 0;
  let high = levels.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (levels[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Scale the levels that occur linearly to 0 to 255.
 * @param {object} rules Contract with the program.
 * @param {Float64Array} values Levels in any order; NaN and infinity count as the minimum.
 * @param {ArrayLike<number>} counts Number of pixels of each level.
 * @param {boolean} robust Whether isolated extreme levels are left out of the range.
 * @returns {Uint8Array} Grey level of each.
 */
export function tableOf(rules, values, counts, robust = true) {
  const order = [];
  values.forEach((value, i) => {
    if (counts[i] > 0 && Number.isFinite(value)) order.push(i);
  });
  const table = new Uint8Array(values.length);
  if (!order.length) return table;
  order.sort((a, b) => values[a] - values[b] || a - b);
  const present = Float64Array.from(order, (i) => values[i]);
  const numbers = Float64Array.from(order, (i) => counts[i]);
  const [low, high] = robust ? robustRange(rules, present, numbers) : [present[0], present[present.length - 1]];
  if (high - low < SMALLEST) return table;
  const factor = 255 / (high - low);
  values.forEach((value, i) => {
    const scaled = ((Number.isFinite(value) ? value : low) - low) * factor;
    table[i] = roundHalfEven(Math.min(255, Math.max(0, scaled)));
  });
  return table;
}

/**
 * Scale integers of at most 16 bits by a table of their values.
 * @param {Uint16Array | Int16Array | Uint8Array | Int8Array} values Values of all pixels.
 * @param {(levels: Float64Array, counts: Float64Array) => Uint8Array} lookUp Grey level of each value.
 * @returns {Uint8Array}
 */
export function stretchCounted(values, lookUp) {
  const lowest = -32768;
  const counts = new Float64Array(32768 + 65536);
  for (let i = 0; i < values.length; i++) counts[values[i] - lowest]++;
  let first = 0;
  let last = counts.length - 1;
  while (!counts[first]) first++;
  while (!counts[last]) last--;
  const levels = Float64Array.from({ length: last - first + 1 }, (_, i) => first + lowest + i);
  const table = lookUp(levels, counts.subarray(first, last + 1));
  const grey = new Uint8Array(values.length);
  const offset = first + lowest;
  for (let i = 0; i < values.length; i++) grey[i] = table[values[i] - offset];
  return grey;
}

/** Scale integers of at most 16 bits from their range, without isolated extreme values. */
export function stretch(rules, values) {
  return stretchCounted(values, (levels, counts) => tableOf(rules, levels, counts));
}
