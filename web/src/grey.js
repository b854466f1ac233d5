/**
 * Grey levels of decoded pictures, as Pillow converts them: luma, palettes, opacity over black.
 *
 * A raster is `{mode, width, height, data}` with interleaved bytes: "L" (1 channel), "LA" (2), "RGB" or "YCbCr" (3),
 * "RGBA" or "CMYK" (4). `wasPalette` says that its colours were looked up in a palette.
 */

export const CHANNELS = { L: 1, LA: 2, RGB: 3, YCbCr: 3, RGBA: 4, CMYK: 4 };

/** ITU-R 601-2 luma in units of 1/65536, as Pillow has it. */
export function luma(red, green, blue) {
  return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
}

/** Lay a level of some opacity over black, as Pillow's `alpha_composite` does. */
export function overBlack(level, alpha) {
  if (alpha === 0) return 0;
  const wide = level * alpha * 128 + (0x80 << 7);
  return (((wide >> 8) + wide) >> 8) >> 7;
}

/** Convert CMYK, where 255 is full ink, to RGB as Pillow does. */
export function rgbOfCmyk(cyan, magenta, yellow, black) {
  const paper = 255 - black;
  const level = (ink) => {
    const product = ink * paper + 128;
    return Math.max(0, paper - (((product >> 8) + product) >> 8));
  };
  return [level(cyan), level(magenta), level(yellow)];
}

/** Return whether the opacity is 0 everywhere: it says nothing then, and the picture is shown. */
export function hidesEverything({ mode, data, wasPalette }) {
  if (wasPalette || (mode !== "RGBA" && mode !== "LA")) return false;
  const step = CHANNELS[mode];
  for (let i = step - 1; i < data.length; i += step) if (data[i]) return false;
  return true;
}

/**
 * Convert a raster to grey levels; transparent pixels become black.
 * @returns {Uint8Array}
 */
export function toGrey(raster) {
  const { mode, width, height, data } = raster;
  if (mode === "L") return data;
  const grey = new Uint8Array(width * height);
  const levelAt = LEVELS[hidesEverything(raster) ? `${mode} without alpha` : mode];
  const step = CHANNELS[mode];
  for (let i = 0, at = 0; i < grey.length; i++, at += step) grey[i] = levelAt(data, at);
  return grey;
}

const lumaAt = (data, at) => luma(data[at], data[at + 1], data[at + 2]);

/** Level of the pixel whose samples begin at a place, by mode. */
const LEVELS = {
  YCbCr: (data, at) => data[at],
  RGB: lumaAt,
  CMYK: (data, at) => luma(...rgbOfCmyk(data[at], data[at + 1], data[at + 2], data[at + 3])),
  LA: (data, at) => overBlack(data[at], data[at + 1]),
  "LA without alpha": (data, at) => data[at],
  RGBA: (data, at) => {
    const alpha = data[at + 3];
    if (alpha === 255) return lumaAt(data, at);
    return luma(overBlack(data[at], alpha), overBlack(data[at + 1], alpha), overBlack(data[at + 2], alpha));
  },
  "RGBA without alpha": lumaAt,
};
