/**
 * Records of outcomes, and CSV of records; `fracture_edge/batch/records.py`.
 */
import { floatText, format } from "./format.js";
import { decide } from "./policy.js";

/**
 * Make the record of an outcome under a policy, with the fields of the program's.
 * @param {object} rules Contract with the program.
 * @param {object} model Record of the model.
 * @param {object} policy One of `model.policies`.
 * @param {object} outcome Outcome of a frame, from `classify`.
 */
export function recordOf(rules, model, policy, outcome) {
  const { path, frame, frames, status, probability } = outcome;
  const record = {
    path,
    frame,
    frames,
    status,
    decision: null,
    probability: null,
    threshold: null,
    reason: outcome.reason,
  };
  let code = null;
  if (probability !== null) {
    const decided = decide(rules, policy, probability, outcome.problem);
    code = decided.code;
    record.decision = decided.decision;
    record.probability = probability;
    record.threshold = policy.threshold;
    const { remark } = outcome.about;
    record.reason =
      decided.text +
      (remark ? format(rules.attributes.with_remark, { remark }) : "") +
      (outcome.pictures > 1 ? format(rules.first_of, { pictures: outcome.pictures }) : "");
  }
  return {
    ...record,
    model: model.name,
    model_sha256: model.sha256,
    elapsed_ms: Math.round(outcome.elapsed * 1000) / 1000,
    reason_code: code,
    ...Object.fromEntries(model.columns.map((name) => [name, outcome.about?.columns[name] ?? null])),
  };
}

const WHOLE = new Set(["frame", "frames"]);
const QUOTED = /[,;"\t\r\n]/;

/**
 * Write records as CSV, as `fracture-edge classify --csv` does; no spreadsheet evaluates a cell as a formula.
 * @param {object} rules Contract with the program.
 * @param {object} model Record of the model.
 * @param {object[]} records Records, from `recordOf`.
 */
export function csv(rules, model, records) {
  const { formula_starts: starts } = rules.csv;
  const columns = [...rules.csv.columns, ...model.columns];
  const cell = (value, name) => {
    if (value === null) return "";
    if (typeof value === "number") return WHOLE.has(name) ? String(value) : floatText(value);
    const plain = value instanceof Map ? jsonText(value) : value;
    const text = [...starts, "'"].some((start) => plain.startsWith(start)) ? `'${plain}` : plain;
    return QUOTED.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = records.map((record) => columns.map((name) => cell(record[name], name)).join(","));
  return [columns.join(","), ...lines, ""].join("\n");
}

/** Write numbers by name as Python's `json.dumps` does. */
function jsonText(numbers) {
  const escaped = (text) =>
    JSON.stringify(text).replace(/[^ -~]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return `{${[...numbers].map(([name, value]) => `${escaped(name)}: ${floatText(value)}`).join(", ")}}`;
}
