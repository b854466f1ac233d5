import { refusal } from "./errors.js";

/** Return whether some bytes of a file are those of a text, from an offset. */
export function hasText(bytes, text, at) {
  if (bytes.length < at + text.length) return false;
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}

function hasHex(bytes, hex, at) {
  if (bytes.length < at + hex.length / 2) return false;
  for (let i = 0; i < hex.length; i += 2)
    if (bytes[at + i / 2] !== parseInt(hex.slice(i, i + 2), 16)) return false;
  return true;
}

/**
 * Detect the format of a file from its first bytes, not from its name.
 * @param {object} rules Contract with the program.
 * @param {Uint8Array} bytes Content of the file.
 * @returns {string} "DICOM", "PNG", "JPEG", "TIFF", "BMP", "WEBP" or "HEIC".
 */
export function sniff(rules, bytes) {
  if (hasText(bytes, "DICM", rules.dicom.magic_at) || isBareDicom(rules, bytes)) return "DICOM";
  for (const [start, name] of rules.formats.starts) if (hasHex(bytes, start, 0)) return name;
  if (hasText(bytes, "RIFF", 0) && hasText(bytes, "WEBP", 8)) return "WEBP";
  if (hasText(bytes, "ftyp", 4) && rules.formats.heic_brands.some((brand) => hasText(bytes, brand, 8)))
    return "HEIC";
  const other = rules.formats.others.find(([at, start]) => hasHex(bytes, start, at));
  throw refusal(rules, "UNSUPPORTED_FORMAT", "no_image", { kind: other ? `${other[2]}, ` : "" });
}

/** Return whether a file begins as a DICOM data set without a preamble does. */
export function isBareDicom(rules, bytes) {
  const { magic_at: start, bare_groups: groups, bare_representations: representations } = rules.dicom;
  if (bytes.length < start + 4 || bytes[1] !== 0 || !groups.includes(bytes[0])) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(4, true);
  const isShort = length <= rules.dicom.most_bare_length && length % 2 === 0;
  const representation = String.fromCharCode(bytes[4], bytes[5]);
  return (
    view.getUint16(2, true) <= rules.dicom.most_bare_element &&
    (representations.includes(representation) || isShort)
  );
}
