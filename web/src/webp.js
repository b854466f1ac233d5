/**
 * WebP files, decoded by libwebp, which is what Pillow uses; a canvas would blur what is transparent.
 */
import decodeWebp, { init } from "@jsquash/webp/decode.js";
import { broken, notOnThePage } from "./errors.js";
import { bytesToDecode, checkMemory, checkSize } from "./limits.js";
import { hasText } from "./sniff.js";

/** Prepare the decoder; its WASM is compiled already. */
export function prepareWebp(module) {
  globalThis.ImageData ??= class {
    constructor(data, width, height) {
      Object.assign(this, { data, width, height });
    }
  };
  return init(module);
}

function chunksOf(bytes, from, to) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks = [];
  for (let at = from; at + 8 <= to; ) {
    const length = view.getUint32(at + 4, true);
    const kind = String.fromCharCode(...bytes.subarray(at, at + 4));
    chunks.push({ kind, at, data: at + 8, length, end: at + 8 + length });
    at += 8 + length + (length & 1);
  }
  return chunks;
}

const threeBytes = (bytes, at) => bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);

/** Read the size and whether there is opacity from the first chunk (RFC 9649). */
function describe(bytes, [first]) {
  const at = first?.data;
  if (first?.kind === "VP8X") {
    return {
      width: 1 + threeBytes(bytes, at + 4),
      height: 1 + threeBytes(bytes, at + 7),
      hasAlpha: (bytes[at] & 16) !== 0,
    };
  }
  if (first?.kind === "VP8 " && bytes[at + 3] === 0x9d) {
    const side = (from) => (bytes[from] | (bytes[from + 1] << 8)) & 0x3fff;
    return { width: side(at + 6), height: side(at + 8), hasAlpha: false };
  }
  if (first?.kind === "VP8L" && bytes[at] === 0x2f) {
    const bits = bytes[at + 1] | (bytes[at + 2] << 8) | (bytes[at + 3] << 16) | (bytes[at + 4] << 24);
    return {
      width: 1 + (bits & 0x3fff),
      height: 1 + ((bits >>> 14) & 0x3fff),
      hasAlpha: ((bits >>> 28) & 1) === 1,
    };
  }
  return null;
}

/** Make a file of the first frame of an animation, if it covers the canvas. */
function firstFrame(rules, bytes, frame, { width, height }) {
  const [left, top] = [threeBytes(bytes, frame.data), threeBytes(bytes, frame.data + 3)];
  const [wide, high] = [1 + threeBytes(bytes, frame.data + 6), 1 + threeBytes(bytes, frame.data + 9)];
  if (left || top || wide !== width || high !== height) throw notOnThePage(rules, "WebP with partial frames");
  const body = bytes.subarray(frame.data + 16, frame.end);
  const alpha = hasText(body, "ALPH", 0);
  const extended = alpha ? bytes.slice(12, 30) : new Uint8Array();
  if (alpha) extended[8] = 16;
  const size = 4 + extended.length + body.length;
  const start = Uint8Array.of(
    0x52,
    0x49,
    0x46,
    0x46,
    size,
    size >> 8,
    size >> 16,
    size >>> 24,
    0x57,
    0x45,
    0x42,
    0x50,
  );
  const file = new Uint8Array(12 + extended.length + body.length);
  file.set(start);
  file.set(extended, 12);
  file.set(body, 12 + extended.length);
  return file;
}

/**
 * Read a WebP file; of an animation the first frame.
 * @param {object} rules Contract with the program.
 * @param {Uint8Array} bytes Content of the file.
 */
export async function readWebp(rules, bytes) {
  const stated = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(4, true) + 8;
  const chunks = chunksOf(bytes, 12, Math.min(bytes.length, stated));
  const about = describe(bytes, chunks);
  if (!about) throw broken(rules, "WEBP", "could not create decoder object");
  const { width, height, hasAlpha } = about;
  checkSize(rules, width, height);
  checkMemory(rules, bytes.length + bytesToDecode(rules, "RGB", width, height, rules.limits.webp_bytes));
  if (stated > bytes.length) throw broken(rules, "WEBP", "could not create decoder object");
  const frames = chunks.filter(({ kind }) => kind === "ANMF");
  const file = frames.length ? firstFrame(rules, bytes, frames[0], about) : bytes;
  let data;
  try {
    ({ data } = await decodeWebp(file.slice().buffer));
  } catch {
    throw broken(rules, "WEBP", "failed to read next frame");
  }
  const packet = (kind) => chunks.find((chunk) => chunk.kind === kind);
  const exif = packet("EXIF");
  const xmp = packet("XMP ");
  return {
    width,
    height,
    raster: { ...(hasAlpha ? { mode: "RGBA", data } : { mode: "RGB", data: withoutAlpha(data) }), width, height },
    pictures: frames.length || 1,
    density: [1, 1],
    exif: exif ? bytes.subarray(exif.data, exif.end) : null,
    xmp: xmp ? new TextDecoder().decode(bytes.subarray(xmp.data, xmp.end)) : "",
  };
}

function withoutAlpha(data) {
  const result = new Uint8Array((data.length / 4) * 3);
  for (let i = 0, j = 0; i < data.length; i += 4, j += 3) {
    result[j] = data[i];
    result[j + 1] = data[i + 1];
    result[j + 2] = data[i + 2];
  }
  return result;
}
