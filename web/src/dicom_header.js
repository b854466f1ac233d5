/**
 * Numbers and tables of DICOM headers, read in spite of what writers get wrong; `fracture_edge/images/dicom_header.py`
 * and `dicom_luts.py`.
 */

/** Value representations of the numbers that are not text, by tag; the others are decimal strings. */
const BINARY = { US: 2, SS: 2, UL: 4, SL: 4, FL: 4, FD: 8, OW: 2, OB: 1 };
const SIXTEEN_BITS = new Set([
  "x00280002",
  "x00280006",
  "x00280010",
  "x00280011",
  "x00280100",
  "x00280101",
  "x00280102",
  "x00280103",
  "x00280120",
  "x00280121",
  "x00283002",
  "x00283006",
]);
/** Pixel Spacing, Imager Pixel Spacing, Nominal Scanned Pixel Spacing, Pixel Aspect Ratio. */
const SPACINGS = ["x00280030", "x00181164", "x00182010", "x00280034"];
const SHARED_GROUPS = "x52009229";
const PER_FRAME_GROUPS = "x52009230";
const TRANSFORMATION = "x00289145";
const FRAME_VOI = "x00289132";
const MEASURES = "x00289110";

/** Return the text of an element, or "". */
export function text(set, tag) {
  const element = set.elements[tag];
  return element && element.length > 0 ? (set.string(tag) ?? "") : "";
}

/** Return the first value of an element as a code in upper case, or "". */
export function code(set, tag) {
  const [first] = text(set, tag).split("\\");
  return first.replace(/^[ \0]+|[ \0]+$/g, "").toUpperCase();
}

/**
 * Return the finite numbers of an element; none if it is absent, empty or holds none.
 * @param {object} set Data set of dicom-parser.
 * @param {string} tag Tag, as `x00280010`.
 */
export function numbers(set, tag) {
  const element = set.elements[tag];
  if (!element || !(element.length > 0)) return [];
  const representation = element.vr ?? (SIXTEEN_BITS.has(tag) ? "US" : "DS");
  const size = BINARY[representation];
  if (!size) return parse(text(set, tag));
  const read = {
    US: "uint16",
    SS: "int16",
    UL: "uint32",
    SL: "int32",
    FL: "float",
    FD: "double",
    OW: "uint16",
    OB: "uint16",
  }[representation];
  const count = Math.floor(element.length / (representation === "OB" ? 2 : size));
  return Array.from({ length: count }, (_, i) => set[read](tag, i)).filter(Number.isFinite);
}

function parse(content) {
  return content
    .split("\\")
    .map((part) => part.replace(/^[ \0]+|[ \0]+$/g, "").replace(",", "."))
    .filter((part) => /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(part))
    .map(Number)
    .filter(Number.isFinite);
}

const firstItem = (set, tag) => set?.elements[tag]?.items?.[0]?.dataSet;

/** Return the data sets in which the elements of a frame are looked for, the most special one first. */
function placesOf(set, frame, sequence) {
  const perFrame = set.elements[PER_FRAME_GROUPS]?.items?.[frame]?.dataSet;
  return [firstItem(perFrame, sequence), firstItem(firstItem(set, SHARED_GROUPS), sequence), set].filter(Boolean);
}

/** Numbers of an element: those of the first place that has the element. */
function lookUp(places, tag) {
  const place = places.find((one) => one.elements[tag]);
  return place ? numbers(place, tag) : [];
}

/**
 * Read how the values of a frame are displayed.
 * @returns {{modality: ?object, slope: number, intercept: number, voi: ?object, padding: number[]}}
 */
export function frameDisplay(set, frame, header) {
  const transformation = placesOf(set, frame, TRANSFORMATION);
  const voiPlaces = placesOf(set, frame, FRAME_VOI);
  const modality = readTable(firstItem(set, "x00283000"), header.isSigned);
  const slope = lookUp(transformation, "x00281053")[0] || 1;
  const intercept = lookUp(transformation, "x00281052")[0] || 0;
  const isSigned = !modality && (header.isSigned || intercept < 0 || slope < 0);
  const table = readTable(firstItem(set, "x00283010"), isSigned);
  const padding = lookUp([set], "x00280120").slice(0, 1);
  if (padding.length) padding.push(...lookUp([set], "x00280121").slice(0, 1));
  return { modality, slope, intercept, voi: table ?? readWindow(voiPlaces), padding };
}

frameDisplay.spacings = (set, frame) =>
  SPACINGS.map((tag, i) => lookUp(i === 0 ? placesOf(set, frame, MEASURES) : [set], tag));

function readWindow(places) {
  const centre = lookUp(places, "x00281050")[0];
  const width = lookUp(places, "x00281051")[0];
  if (centre === undefined || width === undefined || width <= 0) return null;
  const place = places.find((one) => one.elements["x00281056"]);
  const code = place ? text(place, "x00281056").trim().toUpperCase() : "";
  return { centre, width, shape: ["LINEAR_EXACT", "SIGMOID"].includes(code) ? code : "LINEAR" };
}

function readTable(item, isSigned) {
  if (!item) return null;
  const descriptor = numbers(item, "x00283002").map(Math.trunc);
  const element = item.elements["x00283006"];
  if (descriptor.length < 3 || !element) return null;
  const size = descriptor[0] & 0xffff || 65536;
  let first = descriptor[1] & 0xffff;
  if (isSigned && first >= 32768) first -= 65536;
  const bits = descriptor[2] & 0xffff;
  const isBytes = bits <= 8 && element.length <= size + 1 && size > 1;
  const entries = isBytes
    ? Array.from(item.byteArray.subarray(element.dataOffset, element.dataOffset + Math.min(size, element.length)))
    : Array.from({ length: Math.min(size, element.length >> 1) }, (_, i) => item.uint16("x00283006", i));
  return entries.length ? { first, entries } : null;
}
