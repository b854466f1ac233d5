/** Table of all answers. */
import { decisionOf, inWords } from "./answer.js";
import { TEXTS } from "./texts.js";

function cell(name, text, className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  element.className = className;
  return element;
}

/** Fill a row with a record. */
export function fillRow(row, record, select) {
  const { words, kind } = decisionOf(record);
  const title = [record.path, TEXTS.frame(record.frame, record.frames)].filter(Boolean).join(", ");
  const button = cell("button", title);
  button.type = "button";
  button.setAttribute("aria-label", TEXTS.show(title));
  button.addEventListener("click", select);
  const head = document.createElement("th");
  head.scope = "row";
  head.append(button);
  const isAnswered = record.probability !== null;
  const reason = inWords(record.reason);
  const isProblem = isAnswered && reason.kind !== TEXTS.reasonOfProbability;
  row.replaceChildren(
    head,
    cell("td", words, `word ${kind}`),
    cell("td", isAnswered ? record.probability.toFixed(3) : "", "number"),
    cell("td", isProblem ? `${reason.kind}: ${reason.text}` : reason.text, "why"),
    cell("td", TEXTS.time(record.elapsed_ms), "number"),
  );
}

/** Count the decisions of some records, in words. */
export function countsOf(records) {
  const counts = new Map();
  for (const record of records) {
    const { words } = decisionOf(record);
    counts.set(words, (counts.get(words) ?? 0) + 1);
  }
  return TEXTS.counts([...counts]);
}
