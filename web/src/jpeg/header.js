/**
 * Markers of JPEG files (ITU-T T.81), and the state that they set for the scans.
 */
import { broken, notOnThePage, truncated } from "../errors.js";
import { hasText } from "../sniff.js";

/** Order in which the 64 coefficients of a block are coded. */
export const ZIGZAG = Uint8Array.of(
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5,
  12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
  58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
);

export const START_OF_SCAN = 0xda;
export const END_OF_IMAGE = 0xd9;
const isAlone = (code) => code === 0x01 || (code >= 0xd0 && code <= 0xd8);

/**
 * Read markers up to the next scan.
 * @param {object} rules Contract with the program.
 * @param {Uint8Array} bytes Content of the file.
 * @param {object} state State of the decoder; tables and frame are added to it.
 * @param {number} at Offset to begin at.
 * @returns {{code: number, at: number}} START_OF_SCAN or END_OF_IMAGE, and the offset of what follows its code.
 */
export function readMarkers(rules, bytes, state, at) {
  for (;;) {
    while (at < bytes.length && bytes[at] !== 0xff) at++;
    while (at < bytes.length && bytes[at] === 0xff) at++;
    if (at >= bytes.length) throw truncated(rules, "JPEG");
    const code = bytes[at++];
    if (code === 0 || isAlone(code)) continue;
    if (code === END_OF_IMAGE || code === START_OF_SCAN) return { code, at };
    if (at + 2 > bytes.length) throw truncated(rules, "JPEG");
    const length = (bytes[at] << 8) | bytes[at + 1];
    if (length < 2) throw broken(rules, "JPEG", "a segment without a length");
    if (at + length > bytes.length) throw truncated(rules, "JPEG");
    readSegment(rules, state, code, bytes.subarray(at + 2, at + length));
    at += length;
  }
}

function readSegment(rules, state, code, data) {
  if (rules.jpeg.frames.includes(code)) state.frame ??= readFrame(rules, code, data);
  else if (code === 0xc4) readHuffmanTables(rules, state, data);
  else if (code === 0xdb) readQuantisation(rules, state, data);
  else if (code === 0xdd) state.restartInterval = (data[0] << 8) | data[1];
  else if (code === 0xe0 && hasText(data, "JFIF", 0) && data.length >= 12) {
    state.isJfif = true;
    state.density = [(data[8] << 8) | data[9], (data[10] << 8) | data[11]];
  } else if (code === 0xe1 && hasText(data, "Exif\0\0", 0)) state.exif ??= data.subarray(6);
  else if (code === 0xe1 && hasText(data, "http://ns.adobe.com/xap/1.0/\0", 0))
    state.xmp = new TextDecoder().decode(data);
  else if (code === 0xee && hasText(data, "Adobe", 0) && data.length >= 12) state.adobe = data[11];
}

function readFrame(rules, code, data) {
  const [precision, count] = [data[0], data[5]];
  const isCosine = rules.jpeg.transformed.includes(code);
  if (![1, 3, 4].includes(count)) throw broken(rules, "JPEG", `cannot handle ${count}-layer images`);
  if (!isCosine) {
    const lossless = rules.jpeg.lossless.includes(code) || code === 0xf7;
    throw notOnThePage(rules, lossless ? "lossless JPEG" : "arithmetic JPEG");
  }
  if (precision !== 8) throw notOnThePage(rules, `${precision}-bit JPEG`);
  if (data.length < 6 + 3 * count) throw broken(rules, "JPEG", "an incomplete header");
  const components = Array.from({ length: count }, (_, i) => {
    const [id, sampling, table] = data.subarray(6 + 3 * i, 9 + 3 * i);
    return { id, across: sampling >> 4, down: sampling & 15, table };
  });
  if (components.some(({ across, down }) => across < 1 || across > 4 || down < 1 || down > 4)) {
    throw broken(rules, "JPEG", "impossible sampling factors");
  }
  const most = {
    across: Math.max(...components.map((c) => c.across)),
    down: Math.max(...components.map((c) => c.down)),
  };
  return {
    isProgressive: rules.jpeg.progressive.includes(code),
    height: (data[1] << 8) | data[2],
    width: (data[3] << 8) | data[4],
    components,
    most,
  };
}

function readQuantisation(rules, state, data) {
  for (let at = 0; at < data.length; ) {
    const [wide, number] = [data[at] >> 4, data[at] & 15];
    const size = wide ? 128 : 64;
    if (number > 3 || at + 1 + size > data.length) throw broken(rules, "JPEG", "a bad quantization table");
    const table = new Int32Array(64);
    for (let i = 0; i < 64; i++) {
      const from = at + 1 + (wide ? 2 * i : i);
      table[ZIGZAG[i]] = wide ? (data[from] << 8) | data[from + 1] : data[from];
    }
    state.quantisation[number] = table;
    at += 1 + size;
  }
}

function readHuffmanTables(rules, state, data) {
  for (let at = 0; at + 17 <= data.length; ) {
    const [isAc, number] = [data[at] >> 4, data[at] & 15];
    const lengths = data.subarray(at + 1, at + 17);
    const count = lengths.reduce((sum, length) => sum + length, 0);
    if (isAc > 1 || number > 3 || count > 256 || at + 17 + count > data.length) {
      throw broken(rules, "JPEG", "a bad Huffman table");
    }
    state.huffman[isAc][number] = huffmanTable(lengths, data.subarray(at + 17, at + 17 + count));
    at += 17 + count;
  }
}

/** Make a table that gives length and value of the code that 16 bits begin with: length << 8 | value, or 0. */
function huffmanTable(lengths, values) {
  const table = new Uint16Array(1 << 16);
  let code = 0;
  let next = 0;
  for (let length = 1; length <= 16; length++) {
    for (let i = 0; i < lengths[length - 1]; i++) {
      const from = code << (16 - length);
      table.fill((length << 8) | values[next++], from, from + (1 << (16 - length)));
      code++;
    }
    code <<= 1;
  }
  return table;
}
