/**
 * Uncompressed DICOM files: header by dicom-parser, values as `fracture_edge/images/dicom_*.py` read them.
 */
import dicomParser from "dicom-parser";
import { broken, notOnThePage, refusal, truncated } from "./errors.js";
import { checkMemory, checkSize } from "./limits.js";
import { isBareDicom } from "./sniff.js";
import { code, frameDisplay, numbers, text } from "./dicom_header.js";
import { displayed } from "./dicom_display.js";
import { luma } from "./grey.js";
import { pixelAspect } from "./preprocess.js";

/** Compressions that have a name here; others are told by their transfer syntax. */
const COMPRESSIONS = {
  "1.2.840.10008.1.2.1.99": "deflated DICOM",
  "1.2.840.10008.1.2.4.50": "DICOM with JPEG",
  "1.2.840.10008.1.2.4.51": "DICOM with 12-bit JPEG",
  "1.2.840.10008.1.2.4.57": "DICOM with lossless JPEG",
  "1.2.840.10008.1.2.4.70": "DICOM with lossless JPEG",
  "1.2.840.10008.1.2.4.80": "DICOM with JPEG-LS",
  "1.2.840.10008.1.2.4.81": "DICOM with JPEG-LS",
  "1.2.840.10008.1.2.4.90": "DICOM with JPEG 2000",
  "1.2.840.10008.1.2.4.91": "DICOM with JPEG 2000",
  "1.2.840.10008.1.2.5": "DICOM with run-length coding",
};
/** Length of the preamble with its "DICM", and the group that a data set without file meta information begins with. */
const PREAMBLE = 132;
const FIRST_GROUP = 8;
const PIXELS = ["x7fe00010", "x7fe00008", "x7fe00009"];

/** Parse a file; one that ends within its pixels is parsed up to them. */
function parse(rules, bytes) {
  const hasNoPreamble = isBareDicom(rules, bytes);
  const isBare = hasNoPreamble && bytes[0] === FIRST_GROUP;
  // Two capitals are a value representation; otherwise the length of the value follows the tag.
  const syntax = bytes[4] >= 0x41 && bytes[5] >= 0x41 ? "1.2.840.10008.1.2.1" : "1.2.840.10008.1.2";
  let file = bytes;
  if (hasNoPreamble && !isBare) {
    // dicom-parser wants the preamble before file meta information, which some files lack.
    file = new Uint8Array(bytes.length + PREAMBLE);
    file.set([0x44, 0x49, 0x43, 0x4d], PREAMBLE - 4);
    file.set(bytes, PREAMBLE);
  }
  const options = isBare ? { TransferSyntaxUID: syntax } : {};
  try {
    return { file, set: dicomParser.parseDicom(file, options) };
  } catch (error) {
    const partial = error?.dataSet;
    if (partial && PIXELS.some((tag) => partial.elements[tag])) return { file, set: partial };
    if (/inflat|deflat/.test(String(error?.exception ?? error?.error ?? error)))
      throw notOnThePage(rules, COMPRESSIONS["1.2.840.10008.1.2.1.99"]);
    if (partial && !PIXELS.some((tag) => partial.elements[tag]))
      throw refusal(rules, "UNSUPPORTED_FORMAT", "no_pixels");
    throw broken(rules, "DICOM", "its elements cannot be read");
  }
}

/** Open a DICOM file: the number of frames, and a function that reads one of them. */
export function openDicom(rules, bytes) {
  const { file, set } = parse(rules, bytes);
  const element = PIXELS.map((tag) => set.elements[tag]).find(Boolean);
  if (!element) throw refusal(rules, "UNSUPPORTED_FORMAT", "no_pixels");
  const header = describe(rules, set);
  const { rows, columns, samples, allocated, interpretation } = header;
  const syntax = text(set, "x00020010").replace(/\0/g, "");
  const kind = syntax === "" ? "explicit" : rules.dicom.native[syntax];
  if (!isSupported(interpretation)) throw refusal(rules, "UNSUPPORTED_FORMAT", "unknown_interpretation");
  checkSize(rules, columns, rows);
  if (!kind || element.encapsulatedPixelData) {
    throw notOnThePage(rules, COMPRESSIONS[syntax] ?? "DICOM with this compression");
  }
  const bodyPart = code(set, "x00180015");
  const frames = Math.max(1, Math.trunc(numbers(set, "x00280008")[0] ?? 1));
  return { frames, read: (frame) => readFrame(frame) };

  function readFrame(frame) {
    if (!element.tag.endsWith("10") || ![8, 16].includes(allocated))
      throw notOnThePage(rules, `${allocated}-bit DICOM`);
    if (interpretation === "PALETTE COLOR" || interpretation === "YBR_FULL_422") {
      throw notOnThePage(rules, `DICOM with ${interpretation}`);
    }
    const pixels = rows * columns;
    const size = pixels * samples * (allocated / 8);
    const begin = element.dataOffset + frame * size;
    checkMemory(rules, bytes.length + size + pixels);
    if (begin + size > file.length) throw truncated(rules, "DICOM");
    if ((frame + 1) * size > element.length) throw refusal(rules, "CORRUPT", "too_few_stored");
    const stored = file.subarray(begin, begin + size);
    const aspect = aspectOf(rules, set, frame);
    const picture = { width: columns, height: rows, colour: 0, aspect, bodyPart };
    if (samples > 1) return { ...picture, pixels: colourGrey(rules, stored, header) };
    const values = valuesOf(stored, header, kind === "big-endian");
    return { ...picture, pixels: displayed(rules, values, header, frameDisplay(set, frame, header, file)) };
  }
}

function isSupported(interpretation) {
  return (
    ["MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB"].includes(interpretation) ||
    interpretation.startsWith("YBR_")
  );
}

/** Read the elements that describe the pixels; what is missing gets its only likely value. */
function describe(rules, set) {
  const integer = (tag) =>
    numbers(set, tag)
      .map(Math.trunc)
      .find((value) => value >= 0);
  const [rows, columns, allocated] = ["x00280010", "x00280011", "x00280100"].map(integer);
  if (rows === undefined || columns === undefined || allocated === undefined)
    throw refusal(rules, "CORRUPT", "not_described");
  const samples = integer("x00280002") || 1;
  let high = integer("x00280102") ?? allocated - 1;
  const stored = integer("x00280101") || (high < allocated ? high + 1 : allocated);
  if (!(stored - 1 <= high && high < allocated)) high = stored - 1;
  const code = text(set, "x00280004").trim().toUpperCase().replace(/\0/g, "");
  return {
    rows,
    columns,
    allocated,
    samples,
    stored,
    high: Math.max(0, high),
    isSigned: integer("x00280103") === 1,
    isPlanar: integer("x00280006") === 1,
    interpretation: code || (samples === 1 ? "MONOCHROME2" : "RGB"),
  };
}

function aspectOf(rules, set, frame) {
  const spacings = frameDisplay.spacings(set, frame);
  const found = spacings.find((pair) => pair.length >= 2 && Math.min(pair[0], pair[1]) > 0);
  return found ? pixelAspect(rules, found[0], found[1]) : 1;
}

function valuesOf(stored, { allocated, isSigned }, isBigEndian) {
  if (allocated === 8) return isSigned ? new Int8Array(stored.slice().buffer) : stored;
  const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength);
  const values = isSigned ? new Int16Array(stored.length / 2) : new Uint16Array(stored.length / 2);
  for (let i = 0; i < values.length; i++) values[i] = view.getUint16(2 * i, !isBigEndian);
  return values;
}

/** Grey of colours of 8 bits: luma of RGB, the first component of YBR. */
function colourGrey(rules, stored, { rows, columns, samples, allocated, interpretation, isPlanar }) {
  if (allocated !== 8 || samples !== 3)
    throw notOnThePage(rules, `DICOM with ${samples} samples of ${allocated} bits`);
  if (interpretation !== "RGB" && !interpretation.startsWith("YBR_FULL")) {
    throw refusal(rules, "UNSUPPORTED_FORMAT", "unknown_interpretation");
  }
  const count = rows * columns;
  const [step, apart] = isPlanar ? [1, count] : [3, 1];
  const grey = new Uint8Array(count);
  for (let i = 0, at = 0; i < count; i++, at += step) {
    grey[i] = interpretation === "RGB" ? luma(stored[at], stored[at + apart], stored[at + 2 * apart]) : stored[at];
  }
  return grey;
}
