/**
 * Share of coloured pixels; `fracture_edge/images/colour.py`.
 */
import { CHANNELS, hidesEverything, rgbOfCmyk } from "./grey.js";

/** Coefficients of Cb and Cr for red, green and blue, and the fixed point in which Pillow tabulates them. */
const CHROMA = [
  [-0.16874, -0.33126, 0.5],
  [0.5, -0.41869, -0.08131],
];
const SCALE = 6;
const TABLES = CHROMA.map((row) =>
  row.map((share) =>
    Int16Array.from({ length: 256 }, (_, level) => Math.trunc(level * share * (1 << SCALE) + 0.5)),
  ),
);

/** Compute Cb and Cr without their offset of 128, as Pillow does. */
export function chroma(red, green, blue) {
  return TABLES.map(([ofRed, ofGreen, ofBlue]) => {
    const value = (ofRed[red] + ofGreen[green] + ofBlue[blue]) >> SCALE;
    return Math.min(127, Math.max(-128, value));
  });
}

/** Return the places that Pillow's nearest neighbour takes when a side shrinks to `after` pixels. */
export function places(before, after) {
  const scale = before / after;
  const found = new Int32Array(after);
  // Summed up as Pillow does it, rounding included.
  for (let i = 0, at = scale * 0.5; i < after; i++, at += scale) found[i] = Math.trunc(at);
  return found;
}

/**
 * Compute the share of coloured pixels of a raster, from some of its rows and columns.
 * @param {object} rules Contract with the program.
 * @param {object} raster Raster; see grey.js. `transparent` may hold the [red, green, blue] that is transparent.
 */
export function colourShare(rules, raster) {
  const { mode, width, height, data, transparent, wasPalette } = raster;
  if (mode === "LA" || (mode === "L" && !wasPalette)) return 0;
  const { coloured, sampled } = rules.colour;
  const rows = places(height, Math.min(height, sampled));
  const columns = places(width, Math.min(width, sampled));
  const step = CHANNELS[mode];
  const hasAlpha = mode === "RGBA" && !hidesEverything(raster);
  let count = 0;
  for (const y of rows) {
    for (const x of columns) {
      const at = (y * width + x) * step;
      let [first, second, third] = [data[at], data[at + 1], data[at + 2]];
      if (hasAlpha && data[at + 3] === 0) continue;
      if (transparent && first === transparent[0] && second === transparent[1] && third === transparent[2])
        continue;
      if (mode === "CMYK") [first, second, third] = rgbOfCmyk(first, second, third, data[at + 3]);
      const [blue, red] = mode === "YCbCr" ? [second - 128, third - 128] : chroma(first, second, third);
      if (blue * blue + red * red > coloured * coloured) count++;
    }
  }
  return count / (rows.length * columns.length);
}
