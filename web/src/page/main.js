/** The page: takes files, asks the worker, shows answers. */
import { csv, recordOf } from "../records.js";
import { Answer, decisionOf } from "./answer.js";
import { listenForFiles } from "./drop.js";
import { unpacked } from "./parts.js";
import { countsOf, fillRow } from "./table.js";
import { TEXTS } from "./texts.js";

/** Number of pictures for display that are kept; others are read again. */
const MOST_COPIES = 8;

const byId = (id) => document.getElementById(id);
const { rules, model } = JSON.parse(byId("data").textContent);
const answer = new Answer(rules, model);
let policy = model.policies[0];
let worker = null;
let results = [];
let selected = -1;
let queue = [];
let current = null;
let asked = 0;
let finished = 0;
const copies = new Map();

function say(text) {
  byId("state").textContent = text;
}

function recordAt(index) {
  return recordOf(rules, model, policy, results[index].outcome);
}

/** Keep a picture for display, and forget the one that has not been shown for the longest time. */
function keep(index, copy) {
  copies.delete(index);
  copies.set(index, copy);
  if (copies.size > MOST_COPIES) copies.delete(copies.keys().next().value);
}

function select(index) {
  results[selected]?.row.removeAttribute("aria-current");
  selected = index;
  const result = results[index];
  result.row.setAttribute("aria-current", "true");
  const isAnswered = result.outcome.probability !== null;
  if (copies.has(index)) keep(index, copies.get(index));
  else if (isAnswered)
    worker.postMessage({ type: "view", id: index, file: result.file, frame: result.outcome.frame });
  answer.show(recordAt(index), result.outcome, policy, copies.get(index));
}

function showTable() {
  document.body.classList.toggle("answered", results.length > 0);
  byId("many").hidden = results.length === 0;
  byId("table-box").hidden = results.length < 2;
  byId("counts").textContent = countsOf(results.map((_, index) => recordAt(index)));
}

/** Say the last answer aloud, or how many there are. */
function announce(before) {
  const added = results.length - before;
  if (added !== 1) return say(TEXTS.finished(added));
  const record = recordAt(results.length - 1);
  return say(TEXTS.announce(record, decisionOf(record).words));
}

function next() {
  current = queue.shift() ?? null;
  byId("progress").hidden = current === null;
  if (current === null) {
    announce(asked);
    showTable();
    return;
  }
  const total = finished + queue.length + 1;
  if (total > 1) say(TEXTS.working(finished, total));
  byId("bar").value = finished / total;
  worker.postMessage({
    type: "classify",
    id: finished,
    path: current.path,
    file: current.file,
    wantsView: results.length === asked,
  });
}

function add(files) {
  if (!files.length || !worker) return;
  queue.push(...files);
  if (current === null) {
    finished = 0;
    asked = results.length;
    next();
  }
}

function receive({ data }) {
  if (data.type === "ready") {
    byId("files").disabled = false;
    document.body.dataset.state = "ready";
    say(TEXTS.ready);
  } else if (data.type === "failed") {
    document.body.dataset.state = "failed";
    say(TEXTS.failed(data.reason));
  } else if (data.type === "outcome" && current) {
    const row = document.createElement("tr");
    const index = results.push({ outcome: data.outcome, file: current.file, row }) - 1;
    fillRow(row, recordAt(index), () => select(index));
    byId("rows").append(row);
    // The first of a batch is shown, and looked at while the others come.
    if (index === asked) {
      if (data.copy) keep(index, data.copy);
      select(index);
    }
  } else if (data.type === "done" && current) {
    finished++;
    next();
  } else if (data.type === "view" && results[data.id]) {
    if (data.copy) keep(data.id, data.copy);
    if (data.id === selected) answer.show(recordAt(data.id), results[data.id].outcome, policy, data.copy);
  }
}

function clear() {
  queue = [];
  results = [];
  selected = -1;
  copies.clear();
  byId("rows").replaceChildren();
  byId("answer").hidden = true;
  showTable();
  say(TEXTS.ready);
  byId("files").focus();
}

function download() {
  const text = csv(
    rules,
    model,
    results.map((_, index) => recordAt(index)),
  );
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = Object.assign(document.createElement("a"), { href: url, download: TEXTS.csvName });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function offerPolicies() {
  const choices = model.policies.map((one, i) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), {
      type: "radio",
      name: "policy",
      value: one.name,
      checked: i === 0,
    });
    input.addEventListener("change", () => usePolicy(one));
    label.append(input, TEXTS.policyName(one.name));
    return label;
  });
  byId("policy-choices").replaceChildren(...choices);
  usePolicy(policy);
}

function usePolicy(chosen) {
  policy = chosen;
  byId("policy-text").textContent = TEXTS.policy(policy);
  results.forEach(({ row }, index) => fillRow(row, recordAt(index), () => select(index)));
  if (selected >= 0) answer.show(recordAt(selected), results[selected].outcome, policy, copies.get(selected));
  if (results.length) showTable();
}

async function showNotices() {
  byId("notices").textContent = new TextDecoder().decode(await unpacked("notices"));
}

async function start() {
  offerPolicies();
  byId("model-name").textContent = model.name;
  byId("model-sha256").textContent = model.sha256;
  byId("model-licence").textContent = model.licence;
  byId("csv").addEventListener("click", download);
  byId("clear").addEventListener("click", clear);
  byId("stop").addEventListener("click", () => (queue = []));
  byId("licences").addEventListener("toggle", showNotices, { once: true });
  listenForFiles(byId("files"), add, () => say(TEXTS.noFolder));
  if (!globalThis.DecompressionStream || !globalThis.WebAssembly) return say(TEXTS.tooOld);
  const [source, ort, webp, graph] = await Promise.all(["worker", "ort", "webp", "model"].map(unpacked));
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  worker = new Worker(url);
  worker.addEventListener("message", receive);
  worker.addEventListener("error", (event) => say(TEXTS.failed(event.message)));
  worker.postMessage({ type: "open", rules, model, parts: { ort, webp, model: graph } }, [ort, webp, graph]);
  return undefined;
}

start().catch((error) => say(TEXTS.failed(error.message)));
