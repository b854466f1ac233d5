/**
 * Python's `str.format` for the presentations that the program's sentences use, and its text of a number.
 */

const FIELD = /\{(\w+)(?::([^}]*))?\}/g;
const PRESENTATION = /^(,)?(?:\.(\d+))?([f%g])?$/;

/**
 * Fill in a template of Python's `str.format`.
 * @param {string} template Template with fields such as `{width}`, `{limit:,}` or `{share:.0%}`.
 * @param {object} values Values by name.
 * @returns {string}
 */
export function format(template, values) {
  return template.replace(FIELD, (_, name, presentation) => {
    if (!(name in values)) throw new Error(`no value for ${name}`);
    return presentation ? formatNumber(values[name], presentation) : String(values[name]);
  });
}

function formatNumber(value, presentation) {
  const found = PRESENTATION.exec(presentation);
  if (!found) throw new Error(`unknown presentation ${presentation}`);
  const [, comma, digits, kind] = found;
  if (kind === "g") return general(value, Number(digits));
  let text =
    kind === "%"
      ? fixed(value * 100, Number(digits))
      : kind === "f"
        ? fixed(value, Number(digits))
        : String(value);
  if (comma) text = text.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return kind === "%" ? `${text}%` : text;
}

/**
 * Write a number with some decimals as C does: `toFixed` rounds exact ties away from zero, C to even.
 */
function fixed(value, digits) {
  if (!Number.isFinite(value)) return inWords(value);
  const scaled = value * 10 ** digits;
  // A tie can be exact only if its double is: halves, quarters and so on.
  if (digits === 0 && Math.abs(scaled % 1) === 0.5) return String(roundHalfEven(value));
  return value.toFixed(digits);
}

function general(value, digits) {
  if (!Number.isFinite(value)) return inWords(value);
  if (value === 0) return "0";
  const [mantissa, power] = value.toExponential(digits - 1).split("e");
  const exponent = Number(power);
  if (exponent < -4 || exponent >= digits) return `${trimmed(mantissa)}e${signed(exponent)}`;
  return trimmed(value.toFixed(Math.max(0, digits - 1 - exponent)));
}

function trimmed(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

function signed(exponent) {
  return `${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

function inWords(value) {
  return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

/**
 * Write a number as Python's `repr` of a float does: the shortest digits that give the same number.
 * @param {number} value
 * @returns {string}
 */
export function floatText(value) {
  if (!Number.isFinite(value)) return inWords(value);
  const [mantissa, power] = value.toExponential().split("e");
  const exponent = Number(power);
  if (value !== 0 && (exponent < -4 || exponent >= 16)) return `${mantissa}e${signed(exponent)}`;
  if (Number.isInteger(value)) return `${value}.0`;
  if (exponent >= -4 && exponent < 0) {
    const digits = mantissa.replace(/[-.]/g, "");
    return `${value < 0 ? "-" : ""}0.${"0".repeat(-exponent - 1)}${digits}`;
  }
  return String(value);
}

/** Round to the nearest integer, ties to even, as Python's `round` and numpy's `rint` do. */
export function roundHalfEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest < 0.5) return below;
  if (rest > 0.5) return below + 1;
  return below % 2 === 0 ? below : below + 1;
}
