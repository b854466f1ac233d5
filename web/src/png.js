/**
 * PNG files of every colour type and depth (PNG specification, third edition), read as Pillow reads them. A canvas
 * would cut 16 bits to 8, and blurs what is transparent.
 */
import { broken, truncated } from "./errors.js";
import { bytesToDecode, checkMemory, checkSize } from "./limits.js";
import { unpack } from "./png_rows.js";
import { deepGrey } from "./deep.js";
import { hasText } from "./sniff.js";

const GREY = 0;
const RGB = 2;
const PALETTE = 3;
const GREY_ALPHA = 4;
const RGB_ALPHA = 6;
const SAMPLES = { [GREY]: 1, [RGB]: 3, [PALETTE]: 1, [GREY_ALPHA]: 2, [RGB_ALPHA]: 4 };
const DEPTHS = {
  [GREY]: [1, 2, 4, 8, 16],
  [RGB]: [8, 16],
  [PALETTE]: [1, 2, 4, 8],
  [GREY_ALPHA]: [8, 16],
  [RGB_ALPHA]: [8, 16],
};
const MODES = { [GREY]: "L", [RGB]: "RGB", [PALETTE]: "P", [GREY_ALPHA]: "LA", [RGB_ALPHA]: "RGBA" };

/** Read the chunks; `isComplete` says whether the file ends with IEND. */
function readChunks(rules, bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = { pixels: [], animation: 0, isDefault: false, isComplete: false, exif: null, xmp: "" };
  let at = 8;
  while (at + 8 <= bytes.length) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, at + 8 + length);
    const isWhole = at + 12 + length <= bytes.length;
    at += 12 + length;
    if (kind === "IDAT") found.pixels.push(data);
    else if (!isWhole) break;
    else if (kind === "IHDR") found.header = data;
    else if (kind === "PLTE") found.palette = data;
    else if (kind === "tRNS") found.transparency = data;
    else if (kind === "pHYs" && data.length >= 9) found.density = new DataView(data.buffer, data.byteOffset, 9);
    else if (kind === "eXIf") found.exif = data;
    else if (kind === "iTXt" && hasText(data, "XML:com.adobe.xmp\0", 0))
      found.xmp = new TextDecoder().decode(data);
    else if (kind === "acTL" && data.length >= 8)
      found.animation = new DataView(data.buffer, data.byteOffset).getUint32(0);
    else if (kind === "fcTL" && !found.pixels.length) found.hasFirstFrame = true;
    else if (kind === "IEND") {
      found.isComplete = true;
      break;
    }
  }
  if (!found.header || found.header.length < 13)
    throw bytes.length < 33 ? truncated(rules, "PNG") : broken(rules, "PNG", "no header");
  return found;
}

/** Inflate until `size` bytes are there; more are not kept. */
async function inflate(rules, pieces, size, isComplete) {
  const result = new Uint8Array(size);
  let filled = 0;
  const reader = new Blob(pieces).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  try {
    while (filled < size) {
      const { done, value } = await reader.read();
      if (done) break;
      result.set(value.subarray(0, size - filled), filled);
      filled += Math.min(value.length, size - filled);
    }
  } catch {
    // What came before the fault may be all that is needed.
  }
  await reader.cancel().catch(() => {});
  if (filled === size) return result;
  throw isComplete ? broken(rules, "PNG", "broken data stream when reading image file") : truncated(rules, "PNG");
}

/**
 * Read a PNG file.
 * @param {object} rules Contract with the program.
 * @param {Uint8Array} bytes Content of the file.
 * @returns {Promise<object>} Raster or grey levels, number of pictures, aspect as [across, down], Exif and XMP.
 */
export async function readPng(rules, bytes) {
  const chunks = readChunks(rules, bytes);
  const header = new DataView(chunks.header.buffer, chunks.header.byteOffset, 13);
  const [width, height] = [header.getUint32(0), header.getUint32(4)];
  const [depth, type, , , interlace] = chunks.header.subarray(8, 13);
  if (!DEPTHS[type]?.includes(depth)) throw broken(rules, "PNG", "unknown pixel mode");
  checkSize(rules, width, height);
  const mode = depth === 1 && type === GREY ? "1" : depth === 16 && type === GREY ? "I;16" : MODES[type];
  const isDeep = depth === 16 && type !== GREY;
  checkMemory(rules, bytes.length + (1 + isDeep) * bytesToDecode(rules, mode, width, height));
  const samples = SAMPLES[type];
  const layout = { width, height, samples, depth, interlaced: interlace === 1 };
  const values = await unpack(layout, (size) => inflate(rules, chunks.pixels, size, chunks.isComplete));
  const about = {
    width,
    height,
    pictures: chunks.animation ? chunks.animation + !chunks.hasFirstFrame : 1,
    density: densityOf(chunks.density),
    exif: chunks.exif,
    xmp: chunks.xmp,
  };
  if (depth === 16) return { ...about, ...deepGrey(rules, values, width, height, samples) };
  if (type === PALETTE) return { ...about, raster: fromPalette(values, width, height, chunks) };
  if (depth < 8) values.forEach((value, i) => (values[i] = (value * 255) / ((1 << depth) - 1)));
  const raster = { mode: MODES[type], width, height, data: values };
  if (type === RGB && chunks.transparency?.length >= 6) {
    const key = new DataView(chunks.transparency.buffer, chunks.transparency.byteOffset);
    raster.transparent = [key.getUint16(0), key.getUint16(2), key.getUint16(4)];
  }
  return { ...about, raster };
}

/** Look colours up; entries that the palette lacks are grey in Pillow, and opaque. */
function fromPalette(indices, width, height, { palette = new Uint8Array(), transparency }) {
  const samples = transparency ? 4 : 3;
  const table = new Uint8Array(256 * samples);
  for (let i = 0; i < 256; i++) {
    for (let j = 0; j < 3; j++) table[i * samples + j] = palette[i * 3 + j] ?? i;
    if (transparency) table[i * samples + 3] = transparency[i] ?? 255;
  }
  const data = new Uint8Array(width * height * samples);
  for (let i = 0; i < indices.length; i++) {
    for (let j = 0; j < samples; j++) data[i * samples + j] = table[indices[i] * samples + j];
  }
  return { mode: samples === 4 ? "RGBA" : "RGB", width, height, data, wasPalette: true };
}

/** Return pixels per length, across and down, as Pillow has them: per inch if the unit is the metre. */
function densityOf(view) {
  if (!view || view.getUint8(8) > 1) return [1, 1];
  const perUnit = view.getUint8(8) === 1 ? 0.0254 : 1;
  return [view.getUint32(0) * perUnit, view.getUint32(4) * perUnit];
}
