/**
 * JPEG files with the pixels of Pillow: the program decodes large ones at 1/2, 1/4 or 1/8, which no browser can.
 */

import { chroma, places } from "../colour.js";
import { broken } from "../errors.js";
import { luma, rgbOfCmyk } from "../grey.js";
import { bytesToDecode, checkMemory, checkSize } from "../limits.js";
import { END_OF_IMAGE, readMarkers, START_OF_SCAN } from "./header.js";
import { decodeScan, readScan } from "./scans.js";
import { transform } from "./transform.js";
import { upsampledRow } from "./upsample.js";

/**
 * Read a JPEG file.
 * @param {object} rules Contract with the program.
 * @param {Uint8Array} bytes Content of the file.
 * @param {?{width: number, height: number}} modelSize Size of the model input; every pixel is decoded if null.
 * @param {(rules: object, density: number[]) => number} aspectOf Aspect ratio of pixels from their densities.
 * @returns {object} Grey levels and share of coloured pixels, density, Exif and XMP.
 */
export function readJpeg(rules, bytes, modelSize, aspectOf) {
  const state = {
    frame: null,
    quantisation: [],
    huffman: [[], []],
    restartInterval: 0,
    density: [1, 1],
    adobe: null,
    exif: null,
    xmp: "",
  };
  let { code, at } = readMarkers(rules, bytes, state, 2);
  const { frame } = state;
  if (!frame || code !== START_OF_SCAN) throw broken(rules, "JPEG", "no picture");
  checkSize(rules, frame.width, frame.height);
  let scan = readScan(rules, bytes, state, at);
  const isByRows = !frame.isProgressive && scan.components.length === frame.components.length;
  const isReducible = modelSize && aspectOf(rules, state.density) === 1;
  const reduction = isReducible ? reductionOf(rules, frame, modelSize) : 1;
  layOut(frame, 8 / reduction, isByRows);
  const mode = frame.components.length === 1 ? "L" : "RGB";
  const held = bytes.length + (isByRows ? 0 : coefficientBytes(frame));
  checkMemory(rules, held + bytesToDecode(rules, mode, frame.outWidth, frame.outHeight));
  const finishRow = isByRows ? (row) => transformRow(rules, state, row) : () => {};
  for (;;) {
    at = decodeScan(rules, bytes, state, scan, finishRow);
    if (isByRows) break;
    ({ code, at } = readMarkers(rules, bytes, state, at));
    if (code === END_OF_IMAGE) break;
    scan = readScan(rules, bytes, state, at);
  }
  if (!isByRows) for (let row = 0; row < frame.mcusDown; row++) transformRow(rules, state, row);
  for (const component of frame.components) component.coefficients = null;
  return {
    ...toGrey(rules, state, reduction),
    width: frame.outWidth,
    height: frame.outHeight,
    pictures: 1,
    density: state.density,
    exif: state.exif,
    xmp: state.xmp,
  };
}

/** Return by how much the program reduces a file: 1, 2, 4 or 8; `reduce_jpeg` and Pillow's `draft`. */
function reductionOf(rules, { width, height }, modelSize) {
  const [longest, shortest] = [Math.max(width, height), Math.min(width, height)];
  const [long, short] = [Math.max(modelSize.width, modelSize.height), Math.min(modelSize.width, modelSize.height)];
  const scale = Math.min(1, long / longest, short / shortest) * rules.limits.draft_oversampling;
  const [across, down] = [Math.max(1, Math.trunc(width * scale)), Math.max(1, Math.trunc(height * scale))];
  const most = Math.min(Math.floor(width / across), Math.floor(height / down));
  return [8, 4, 2, 1].find((by) => most >= by) ?? 1;
}

/** Bytes of coefficients that a decoder keeps until the last scan. */
function coefficientBytes({ width, height, components, most }) {
  const samples = components.reduce((sum, { across, down }) => sum + across * down, 0);
  return Math.trunc((2 * width * height * samples) / (most.across * most.down));
}

/** Compute sizes and places of all components, for blocks of `smallest` pixels. */
function layOut(frame, smallest, isByRows) {
  const { width, height, components, most } = frame;
  frame.smallest = smallest;
  frame.outWidth = Math.ceil((width * smallest) / 8);
  frame.outHeight = Math.ceil((height * smallest) / 8);
  frame.mcusAcross = Math.ceil(width / (8 * most.across));
  frame.mcusDown = Math.ceil(height / (8 * most.down));
  for (const component of components) {
    const { across, down } = component;
    // A component with fewer samples is reduced less where that saves the upsampling (jdmaster.c).
    let size = smallest;
    const fits = (double) =>
      (most.across * smallest) % (across * double) === 0 && (most.down * smallest) % (down * double) === 0;
    while (size < 8 && fits(size * 2)) size *= 2;
    component.size = size;
    component.timesAcross = (most.across * smallest) / (across * size);
    component.timesDown = (most.down * smallest) / (down * size);
    component.blocksAcross = Math.ceil((width * across) / (8 * most.across));
    component.blocksDown = Math.ceil((height * down) / (8 * most.down));
    component.wide = Math.ceil((width * across * size) / (8 * most.across));
    component.high = Math.ceil((height * down * size) / (8 * most.down));
    const line = frame.mcusAcross * across;
    component.line = line;
    component.stride = line * size;
    component.plane = new Uint8Array(component.stride * frame.mcusDown * down * size);
    component.coefficients = new Int16Array(64 * line * down * (isByRows ? 1 : frame.mcusDown));
    component.offset = (row, column) => 64 * ((isByRows ? row % down : row) * line + column);
  }
}

/** Transform the blocks of one row of MCUs. */
function transformRow(rules, { frame, quantisation }, row) {
  for (const component of frame.components) {
    const { down, line, size, stride, plane, coefficients } = component;
    const table = quantisation[component.table];
    if (!table) throw broken(rules, "JPEG", "a missing quantization table");
    for (let y = row * down; y < (row + 1) * down; y++) {
      for (let x = 0; x < line; x++) {
        transform(coefficients, component.offset(y, x), table, size, plane, y * size * stride + x * size, stride);
      }
    }
    if (coefficients.length === 64 * line * down) coefficients.fill(0);
  }
}

/** Choose how the components become colours, as libjpeg guesses it. */
function colourSpace({ frame, isJfif, adobe }) {
  const { components } = frame;
  if (components.length === 1) return "L";
  if (components.length === 4) return adobe === null || adobe === 0 ? "CMYK" : "YCCK";
  if (isJfif) return "YCbCr";
  if (adobe !== null) return adobe === 0 ? "RGB" : "YCbCr";
  return components.map(({ id }) => id).join() === "82,71,66" ? "RGB" : "YCbCr";
}

const clamp = (value) => (value < 0 ? 0 : value > 255 ? 255 : value);
/** Fixed point of libjpeg's conversion from YCbCr (jdcolor.c). */
const fixed = (value) => Math.trunc(value * 65536 + 0.5);
const [RED_OF_CR, BLUE_OF_CB, GREEN_OF_CR, GREEN_OF_CB] = [
  fixed(1.402),
  fixed(1.772),
  fixed(0.71414),
  fixed(0.34414),
];

function rgbOf(y, cb, cr) {
  const [blue, red] = [cb - 128, cr - 128];
  return [
    clamp(y + ((RED_OF_CR * red + 32768) >> 16)),
    clamp(y + ((-GREEN_OF_CB * blue - GREEN_OF_CR * red + 32768) >> 16)),
    clamp(y + ((BLUE_OF_CB * blue + 32768) >> 16)),
  ];
}

/** Convert row by row; a reduced picture keeps its luma, as the program asks Pillow for it. */
function toGrey(rules, state, reduction) {
  const { frame } = state;
  const { outWidth: width, outHeight: height, components } = frame;
  const space = colourSpace(state);
  const keepsLuma = reduction > 1 && space === "YCbCr";
  const grey = new Uint8Array(width * height);
  const rows = components.map(() => new Uint8Array(width + 8));
  const sampled = new Set(places(height, Math.min(height, rules.colour.sampled)));
  const columns = places(width, Math.min(width, rules.colour.sampled));
  let coloured = 0;
  for (let y = 0; y < height; y++) {
    const isSampled = space !== "L" && sampled.has(y);
    const count = keepsLuma && !isSampled ? 1 : components.length;
    const found = components
      .slice(0, count)
      .map((one, i) => upsampledRow(one, y, width, frame.smallest > 1, rows[i]));
    if (space === "L" || keepsLuma) grey.set(found[0].subarray(0, width), y * width);
    else {
      for (let x = 0; x < width; x++) {
        const [red, green, blue] = colourOf(space, found, x);
        grey[y * width + x] = luma(red, green, blue);
      }
    }
    if (isSampled) {
      for (const x of columns) {
        const [blue, red] = keepsLuma
          ? [found[1][x] - 128, found[2][x] - 128]
          : chroma(...colourOf(space, found, x));
        if (blue * blue + red * red > rules.colour.coloured ** 2) coloured++;
      }
    }
  }
  return { grey, colour: space === "L" ? 0 : coloured / (sampled.size * columns.length) };
}

function colourOf(space, rows, x) {
  if (space === "RGB") return [rows[0][x], rows[1][x], rows[2][x]];
  if (space === "YCbCr") return rgbOf(rows[0][x], rows[1][x], rows[2][x]);
  // Pillow takes the stored ink for inverted, as Adobe writes it.
  if (space === "CMYK") return rgbOfCmyk(255 - rows[0][x], 255 - rows[1][x], 255 - rows[2][x], 255 - rows[3][x]);
  const [red, green, blue] = rgbOf(rows[0][x], rows[1][x], rows[2][x]);
  return rgbOfCmyk(red, green, blue, 255 - rows[3][x]);
}
