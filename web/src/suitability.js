/**
 * Checks whether an image can be a usable radiograph; `fracture_edge/suitability.py`.
 */
import { format } from "./format.js";
import { isPlausible } from "./preprocess.js";

/** Crop the white borders of an image; all of it is kept if all is white. */
export function withoutWhiteBorders({ white_share: share, white }, content) {
  let [left, top, right, bottom] = [0, 0, content.width, content.height];
  const isWhite = (x, y) => content.pixels[y * content.width + x] >= white;
  for (;;) {
    const [wide, high] = [right - left, bottom - top];
    const inRow = new Float64Array(high);
    const inColumn = new Float64Array(wide);
    for (let y = 0; y < high; y++) {
      for (let x = 0; x < wide; x++) {
        if (isWhite(left + x, top + y)) {
          inRow[y]++;
          inColumn[x]++;
        }
      }
    }
    const dark = (counts, of) => [...counts.keys()].filter((i) => counts[i] / of < share);
    const rows = dark(inRow, wide);
    const columns = dark(inColumn, high);
    if (!rows.length || !columns.length) return content;
    const smaller = [left + columns[0], top + rows[0], left + columns.at(-1) + 1, top + rows.at(-1) + 1];
    if (smaller[2] - smaller[0] === wide && smaller[3] - smaller[1] === high) break;
    [left, top, right, bottom] = smaller;
  }
  const [width, height] = [right - left, bottom - top];
  const pixels = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const from = (top + y) * content.width + left;
    pixels.set(content.pixels.subarray(from, from + width), y * width);
  }
  return { pixels, width, height };
}

/** Return sum of sizes, sum of squares and number of the differences of pixels that lie apart, along one axis. */
function differences({ pixels, width, height }, apart, down) {
  const [wide, high] = down ? [width, height - apart] : [width - apart, height];
  const step = down ? apart * width : apart;
  let sizes = 0;
  let squares = 0;
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const at = y * width + x;
      const difference = pixels[at + step] - pixels[at];
      sizes += Math.abs(difference);
      squares += difference * difference;
    }
  }
  return { sizes, squares, count: Math.max(0, wide) * Math.max(0, high) };
}

/**
 * Compute the statistics that the limits apply to.
 * @param {object} rules Contract with the program.
 * @param {{pixels: Uint8Array, width: number, height: number}} image Model input without the letterbox bars.
 * @param {number} side Length of the shorter side before resizing, in pixels.
 * @param {number} colour Share of coloured pixels.
 */
export function measure(rules, image, side, colour) {
  const content = withoutWhiteBorders(rules.suitability, image);
  const { pixels } = content;
  const counts = new Float64Array(256);
  for (const level of pixels) counts[level]++;
  const levels = counts.map((count) => count / pixels.length);
  const mean = levels.reduce((sum, share, level) => sum + share * level, 0);
  const variance = levels.reduce((sum, share, level) => sum + share * (level - mean) ** 2, 0);
  const quantile = (share) => {
    let sum = 0;
    for (let level = 0; level < 256; level++) if ((sum += levels[level]) >= share) return level;
    return 256;
  };
  const near = [false, true].map((down) => differences(content, 1, down)).filter((part) => part.count);
  const far = [false, true]
    .map((down) => differences(content, rules.suitability.apart, down))
    .filter((part) => part.count);
  const total = (parts, what) => parts.reduce((sum, part) => sum + part[what] / part.count, 0);
  const wide = total(far, "sizes");
  return {
    side,
    colour,
    contrast: Math.sqrt(variance),
    correlation: near.length && variance ? 1 - total(near, "squares") / near.length / (2 * variance) : 1,
    median: quantile(0.5 - 1e-9),
    bright: quantile(0.99 - 1e-9),
    clipped: levels[255],
    sharpness: wide ? total(near, "sizes") / wide : 0,
  };
}

/** Return the first limit that an image exceeds as a reason, or null. */
export function findProblem(rules, limits, found) {
  const code = [
    [found.colour > limits.most_colour, "coloured"],
    [found.contrast < limits.least_contrast, "nearly_constant"],
    [found.correlation < limits.least_correlation, "noise"],
    [found.median > limits.most_median, "mostly_bright"],
    [found.side < limits.least_side, "low_resolution"],
    [found.bright < limits.least_bright, "too_dark"],
    [found.clipped > limits.most_clipped, "clipped"],
    [found.sharpness < limits.least_sharpness, "blurred"],
  ].find(([beyond]) => beyond)?.[1];
  return code ? { code, text: format(rules.sentences[code], found) } : null;
}

/** Check whether the shape of an image's pixels can be believed. */
export function checkAspect(rules, aspect) {
  if (isPlausible(rules, aspect)) return null;
  const text =
    aspect > 1 ? format(rules.high_pixels, { ratio: aspect }) : format(rules.wide_pixels, { ratio: 1 / aspect });
  return { code: "pixel_aspect", text };
}

/** Check whether the features of an image lie close to those of the training images; NaN counts as far. */
export function checkAtypicality(rules, distance, limit) {
  if (distance <= limit) return null;
  return { code: "unlike_features", text: format(rules.sentences.unlike_features, { distance, limit }) };
}
