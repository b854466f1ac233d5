/**
 * BMP files without run-length coding, read as Pillow reads them.
 */
import { broken, notOnThePage, truncated } from "./errors.js";
import { bytesToDecode, checkMemory, checkSize } from "./limits.js";

const RAW = 0;
const BIT_FIELDS = 3;
const HEADERS = [40, 52, 56, 64, 108, 124];

/** Order of the bytes of a pixel by its masks for red, green, blue and alpha: places of these in the pixel. */
const LAYOUTS = {
  "32:ff0000,ff00,ff,0": [2, 1, 0],
  "32:ff000000,ff0000,ff00,0": [3, 2, 1],
  "32:ff000000,ff00,ff,0": [3, 1, 0],
  "32:ff000000,ff0000,ff00,ff": [3, 2, 1, 0],
  "32:ff,ff00,ff0000,ff000000": [0, 1, 2, 3],
  "32:ff0000,ff00,ff,ff000000": [2, 1, 0, 3],
  "32:ff000000,ff00,ff,ff0000": [3, 1, 0, 2],
  "32:0,0,0,0": [2, 1, 0, 3],
  "24:ff0000,ff00,ff": [2, 1, 0],
};

function readHeader(rules, bytes, view) {
  const size = view.getUint32(14, true);
  if (size === 12) {
    return {
      size,
      width: view.getUint16(18, true),
      height: view.getUint16(20, true),
      bits: view.getUint16(24, true),
      compression: RAW,
      padding: 3,
      colours: 0,
    };
  }
  if (!HEADERS.includes(size)) throw broken(rules, "BMP", `Unsupported BMP header type (${size})`);
  const isDownwards = bytes[25] === 0xff;
  const height = view.getUint32(22, true);
  return {
    size,
    width: view.getUint32(18, true),
    height: isDownwards ? 2 ** 32 - height : height,
    isDownwards,
    bits: view.getUint16(28, true),
    compression: view.getUint32(30, true),
    colours: view.getUint32(46, true),
    padding: 4,
  };
}

/**
 * Read a BMP file.
 * @param {object} rules Contract with the program.
 * @param {Uint8Array} bytes Content of the file.
 * @returns {object} Raster and its size.
 */
export function readBmp(rules, bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 18 || bytes.length < 14 + view.getUint32(14, true)) throw truncated(rules, "BMP");
  const header = readHeader(rules, bytes, view);
  const { width, height, bits, compression } = header;
  if (![1, 4, 8, 16, 24, 32].includes(bits)) throw broken(rules, "BMP", `Unsupported BMP pixel depth (${bits})`);
  if (compression === 1 || compression === 2) throw notOnThePage(rules, "run-length coded BMP");
  if (compression !== RAW && compression !== BIT_FIELDS) {
    throw broken(rules, "BMP", `Unsupported BMP compression (${compression})`);
  }
  checkSize(rules, width, height);
  checkMemory(rules, bytes.length + bytesToDecode(rules, bits <= 8 ? "P" : "RGB", width, height));
  let offset = view.getUint32(10, true);
  const colours = header.colours || 2 ** bits;
  const paletteAt = 14 + header.size;
  if (offset === paletteAt && bits <= 8) offset += header.padding * colours;
  const stride = (((width * bits + 31) >> 3) & ~3) >>> 0;
  if (offset + stride * height > bytes.length) throw truncated(rules, "BMP");
  const row = (y) => {
    const from = offset + (header.isDownwards ? y : height - 1 - y) * stride;
    return bytes.subarray(from, from + stride);
  };
  const raster = bits <= 8 ? indexed(bytes, header, colours, paletteAt, row) : coloured(rules, view, header, row);
  return { width, height, raster, pictures: 1, density: [1, 1], exif: null, xmp: "" };
}

function indexed(bytes, { width, height, bits, padding }, colours, paletteAt, row) {
  const entry = (i, part) => bytes[paletteAt + i * padding + part];
  const greys = colours === 2 ? [0, 255] : Array.from({ length: colours }, (_, i) => i);
  const isGrey = greys.every((level, i) => [0, 1, 2].every((part) => entry(i, part) === level));
  const data = new Uint8Array(width * height * (isGrey ? 1 : 3));
  for (let y = 0; y < height; y++) {
    const line = row(y);
    for (let x = 0; x < width; x++) {
      const place = x * bits;
      const index = (line[place >> 3] >> (8 - bits - (place & 7))) & ((1 << bits) - 1);
      if (isGrey) data[y * width + x] = greys[index];
      else {
        const to = 3 * (y * width + x);
        // Entries that the palette lacks are grey in Pillow.
        for (let j = 0; j < 3; j++) data[to + j] = index < colours ? entry(index, 2 - j) : index;
      }
    }
  }
  return { mode: isGrey ? "L" : "RGB", width, height, data, wasPalette: !isGrey };
}

function coloured(rules, view, { size, width, height, bits, compression }, row) {
  const masks = [54, 58, 62].map((at) => view.getUint32(at, true));
  if (bits === 32) masks.push(size >= 56 ? view.getUint32(66, true) : 0);
  const key = `${bits}:${masks.map((mask) => mask.toString(16))}`;
  let layout = [2, 1, 0];
  let green = 5;
  if (compression === BIT_FIELDS) {
    if (bits === 16) green = { "16:f800,7e0,1f": 6, "16:7c00,3e0,1f": 5 }[key];
    else layout = LAYOUTS[key];
    if (!layout || !green) throw broken(rules, "BMP", "Unsupported BMP bitfields layout");
  }
  const samples = layout.length;
  const data = new Uint8Array(width * height * samples);
  const step = bits / 8;
  for (let y = 0; y < height; y++) {
    const line = row(y);
    for (let x = 0; x < width; x++) {
      const to = samples * (y * width + x);
      if (bits > 16) for (let j = 0; j < samples; j++) data[to + j] = line[x * step + layout[j]];
      else {
        const pixel = line[2 * x] | (line[2 * x + 1] << 8);
        data[to] = scaled(pixel >> (5 + green), 31);
        data[to + 1] = scaled(pixel >> 5, (1 << green) - 1);
        data[to + 2] = scaled(pixel, 31);
      }
    }
  }
  return { mode: samples === 4 ? "RGBA" : "RGB", width, height, data };
}

function scaled(value, most) {
  return Math.trunc(((value & most) * 255) / most);
}
