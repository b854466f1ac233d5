/**
 * From stored DICOM values to display grey: modality, VOI, padding, MONOCHROME1 (PS3.3 C.11.1, C.11.2);
 * `fracture_edge/images/dicom_pixels.py`.
 */
import { refusal } from "./errors.js";
import { stretchCounted, tableOf } from "./levels.js";

/**
 * Convert the values of a frame to grey levels, with dense material bright.
 * @param {object} rules Contract with the program.
 * @param {Int8Array | Uint8Array | Int16Array | Uint16Array} values Stored values.
 * @param {object} header Description of the pixels.
 * @param {object} display Transformations; see dicom_header.js.
 * @returns {Uint8Array}
 */
export function displayed(rules, values, header, display) {
  const { interpretation } = header;
  if (interpretation !== "MONOCHROME1" && interpretation !== "MONOCHROME2") {
    throw refusal(rules, "UNSUPPORTED_FORMAT", "unknown_interpretation");
  }
  const usedBits = bitsOf(header);
  const isPadding = paddingOf(header, display.padding, usedBits);
  return stretchCounted(values, (levels, counts) => {
    const padded = Array.from(levels, isPadding);
    const shown = levels.map((level) => apply(display, usedBits(level)));
    const grey = tableOf(
      rules,
      shown,
      counts.map((count, i) => (padded[i] ? 0 : count)),
      !display.voi,
    );
    padded.forEach((isPadded, i) => {
      grey[i] = isPadded ? 0 : interpretation === "MONOCHROME1" ? 255 - grey[i] : grey[i];
    });
    return grey;
  });
}

/** Return a function that cuts the bits of a value that are not used; the sign is that of the highest used bit. */
function bitsOf({ allocated, stored, high, isSigned }) {
  const unused = allocated - stored;
  if (unused <= 0) return (value) => value;
  const above = allocated - high - 1;
  const [mask, extend] = [2 ** allocated - 1, 32 - allocated];
  return (value) => {
    const moved = (value << above) & mask;
    return isSigned ? ((moved << extend) >> extend) >> unused : moved >>> unused;
  };
}

function apply({ modality, slope, intercept, voi }, value) {
  const shown = modality ? lookUp(modality, value) : value * slope + intercept;
  if (!voi) return shown;
  return voi.entries ? lookUp(voi, shown) : throughWindow(voi, shown);
}

function lookUp({ first, entries }, value) {
  return entries[Math.min(entries.length - 1, Math.max(0, Math.floor(value) - first))];
}

function throughWindow({ centre, width, shape }, value) {
  if (shape === "SIGMOID") return 1 / (1 + Math.exp((-4 * (value - centre)) / width));
  if (shape === "LINEAR" && width >= 1) {
    centre -= 0.5;
    width -= 1;
  }
  if (width === 0) return value - centre > 0 ? 1 : 0;
  return Math.min(1, Math.max(0, (value - centre) / width + 0.5));
}

/** Return a function that tells which stored values are padding, and not part of the picture. */
function paddingOf({ allocated, isSigned }, padding, usedBits) {
  if (!padding.length) return () => false;
  const ends = padding.map((number) => {
    const bits = Math.trunc(number) & (2 ** allocated - 1);
    return isSigned && bits >= 2 ** (allocated - 1) ? bits - 2 ** allocated : bits;
  });
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  return (level) => [level, usedBits(level)].some((value) => value >= low && value <= high);
}
