/**
 * Pixels of 16 bits: grey, grey with opacity, RGB and RGBA; `fracture_edge/images/samples.py`.
 */
import { chroma } from "./colour.js";
import { roundHalfEven } from "./format.js";
import { stretch, tableOf } from "./levels.js";

/** Luma in units of 1/65536; the sum of three 16-bit samples needs more than 32 bits. */
function deepLuma(red, green, blue) {
  return Math.floor((red * 19595 + green * 38470 + blue * 7471 + 32768) / 65536);
}

/**
 * Convert 16-bit samples to grey levels.
 * @param {object} rules Contract with the program.
 * @param {Uint16Array} values Samples of all pixels.
 * @param {number} samples Samples of a pixel, 1 to 4.
 * @returns {{grey: Uint8Array, colour: number}} Grey levels, and share of coloured pixels.
 */
export function deepGrey(rules, values, width, height, samples) {
  if (samples === 1) return { grey: stretch(rules, values), colour: 0 };
  const hasAlpha = samples % 2 === 0;
  let usesAlpha = false;
  if (hasAlpha)
    for (let i = samples - 1; i < values.length && !usesAlpha; i += samples) usesAlpha = values[i] !== 0;
  const flat = new Uint16Array(width * height);
  for (let i = 0, at = 0; i < flat.length; i++, at += samples) {
    const level = samples < 3 ? values[at] : deepLuma(values[at], values[at + 1], values[at + 2]);
    flat[i] = usesAlpha ? roundHalfEven(level * (values[at + samples - 1] / 65535)) : level;
  }
  return {
    grey: stretch(rules, flat),
    colour: samples < 3 ? 0 : deepColourShare(rules, values, width, height, samples),
  };
}

/** Compute the share of coloured pixels from every so many rows and columns, scaled together to 8 bits. */
function deepColourShare(rules, values, width, height, samples) {
  const { coloured, sampled } = rules.colour;
  const [down, across] = [Math.ceil(height / sampled), Math.ceil(width / sampled)];
  const some = [];
  for (let y = 0; y < height; y += down) {
    for (let x = 0; x < width; x += across) {
      const at = (y * width + x) * samples;
      some.push(values[at], values[at + 1], values[at + 2]);
    }
  }
  const counts = new Map();
  for (const value of some) counts.set(value, (counts.get(value) ?? 0) + 1);
  const levels = [...counts.keys()].sort((a, b) => a - b);
  const table = tableOf(
    rules,
    Float64Array.from(levels),
    levels.map((level) => counts.get(level)),
  );
  const scaled = new Map(levels.map((level, i) => [level, table[i]]));
  let count = 0;
  for (let i = 0; i < some.length; i += 3) {
    const [blue, red] = chroma(scaled.get(some[i]), scaled.get(some[i + 1]), scaled.get(some[i + 2]));
    if (blue * blue + red * red > coloured * coloured) count++;
  }
  return count / (some.length / 3);
}
