import { refusal } from "./errors.js";

const DICOM_MAGIC_AT = 128;

/** Return whether some bytes of a file are those of a text, from an offset. */
export function hasText(bytes, text, at) {
  if (bytes.length < at + text.length) return false;
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}

function hasHex(bytes, hex, at) {
  if (bytes.length < at + hex.length / 2) return false;
  for (let i = 0; i < hex.length; i += 2) if (bytes[at + i / 2] !== parseInt(hex.slice(i, i + 2), 16)) return false;
  return true;
}

/**
 * Detect the format of a file from its first bytes, not from its name.
 * @param {object} rules Contract with the program.
 * @param {Uint8Array} bytes Content of the file.
 * @returns {string} "DICOM", "PNG", "JPEG", "TIFF", "BMP", "WEBP" or "HEIC".
 */
export function sniff(rules, bytes) {
  if (hasText(bytes, "DICM", DICOM_MAGIC_AT) || isBareDicom(bytes)) return "DICOM";
  for (const [start, name] of rules.formats.starts) if (hasHex(bytes, start, 0)) return name;
  if (hasText(bytes, "RIFF", 0) && hasText(bytes, "WEBP", 8)) return "WEBP";
  if (hasText(bytes, "ftyp", 4) && rules.formats.heic_brands.some((brand) => hasText(bytes, brand, 8))) return "HEIC";
  const other = rules.formats.others.find(([at, start]) => hasHex(bytes, start, at));
  throw refusal(rules, "UNSUPPORTED_FORMAT", "no_image", { kind: other ? `${other[2]}, ` : "" });
}

const BARE_REPRESENTATIONS = new Set(["AE", "CS", "DA", "DT", "LO", "OB", "PN", "SH", "ST", "TM", "UI", "UL"]);
const MOST_BARE_ELEMENT = 0x70;
const MOST_BARE_LENGTH = 256;

/** Return whether a file begins as a DICOM data set without a preamble does. */
export function isBareDicom(bytes) {
  if (bytes.length < DICOM_MAGIC_AT + 4 || bytes[1] !== 0 || (bytes[0] !== 2 && bytes[0] !== 8)) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(4, true);
  const representation = String.fromCharCode(bytes[4], bytes[5]);
  const isShort = length <= MOST_BARE_LENGTH && length % 2 === 0;
  return view.getUint16(2, true) <= MOST_BARE_ELEMENT && (BARE_REPRESENTATIONS.has(representation) || isShort);
}
