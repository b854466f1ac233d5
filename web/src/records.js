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
    record.reason =
      decided.text + (outcome.pictures > 1 ? format(rules.first_of, { pictures: outcome.pictures }) : "");
  }
  return {
    ...record,
    model: model.name,
    model_sha256: model.sha256,
    elapsed_ms: Math.round(outcome.elapsed * 1000) / 1000,
    reason_code: code,
  };
}

const FLOATS = new Set(["probability", "threshold", "elapsed_ms"]);
const QUOTED = /[,;"\t\r\n]/;

/**
 * Write records as CSV, as `fracture-edge classify --csv` does; no spreadsheet evaluates a cell as a formula.
 * @param {object} rules Contract with the program.
 * @param {object[]} records Records, from `recordOf`.
 */
export function csv(rules, records) {
  const { columns, formula_starts: starts } = rules.csv;
  const cell = (value, name) => {
    if (value === null) return "";
    if (typeof value === "number") return FLOATS.has(name) ? floatText(value) : String(value);
    const text = [...starts, "'"].some((start) => value.startsWith(start)) ? `'${value}` : value;
    return QUOTED.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = records.map((record) => columns.map((name) => cell(record[name], name)).join(","));
  return [columns.join(","), ...lines, ""].join("\n");
}
