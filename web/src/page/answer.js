/** The answer for one picture: the picture with its heat map, the decision, the scale, the reason. */
import { blended, colourTable, overImage } from "../heatmap.js";
import { TEXTS } from "./texts.js";

const byId = (id) => document.getElementById(id);
const MARKS = {
  fractured: "M12 2 22 12 12 22 2 12Z",
  not_fractured: "M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20Z",
  uncertain: "M3 3h18v18H3Z",
  none: "M5 3l16 16-2 2L3 5Zm14 0 2 2L5 21l-2-2Z",
};

/** Split the program's reason: the kind of a problem, in words, and the rest. */
export function inWords(reason) {
  const [kind, ...rest] = reason.split(": ");
  const known = TEXTS.problems[kind];
  return known ? { kind: known, text: rest.join(": ") } : { kind: TEXTS.reasonOfProbability, text: reason };
}

/** Words and class of the decision of a record. */
export function decisionOf(record) {
  if (record.decision === null) return { words: TEXTS.noAnswer, kind: "none" };
  return { words: TEXTS.decisions[record.decision], kind: record.decision };
}

export class Answer {
  /**
   * @param {object} rules Contract with the program.
   * @param {object} model Record of the model.
   */
  constructor(rules, model) {
    this.rules = rules;
    this.model = model;
    this.shown = null;
    const slider = byId("strength");
    slider.value = String(Math.round(rules.heatmap.opacity * 100));
    slider.addEventListener("input", () => this.paint());
    byId("caption").textContent = rules.heatmap.caption;
    this.paintLegend();
  }

  /**
   * Show a result.
   * @param {object} record Record under the policy in use.
   * @param {object} outcome Outcome, with the heat map.
   * @param {object} policy Policy in use.
   * @param {?object} copy Picture for display; undefined if it is still being read, null if there is none.
   */
  show(record, outcome, policy, copy) {
    const { words, kind } = decisionOf(record);
    byId("answer").hidden = false;
    byId("name").textContent = [record.path, TEXTS.frame(record.frame, record.frames)].filter(Boolean).join(", ");
    byId("decision").className = kind;
    byId("decision-words").textContent = words;
    byId("mark").innerHTML = "";
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "path");
    mark.setAttribute("d", MARKS[kind]);
    mark.setAttribute("fill", "currentColor");
    byId("mark").append(mark);
    const isAnswered = record.probability !== null;
    for (const id of ["scale", "scale-numbers", "band-text", "probability"]) byId(id).hidden = !isAnswered;
    const reason = isAnswered
      ? inWords(record.reason)
      : { kind: TEXTS.statuses[record.status] ?? record.status, text: record.reason };
    byId("reason-title").textContent = reason.kind;
    byId("reason").textContent = reason.text;
    const about = isAnswered ? TEXTS.about(this.aboutOf(record)) : "";
    byId("about").hidden = !about;
    byId("about").textContent = about;
    byId("time").textContent = TEXTS.time(record.elapsed_ms);
    if (isAnswered) this.showScale(record.probability, policy);
    byId("picture").hidden = !isAnswered;
    this.shown = { outcome, copy, evidence: null };
    if (isAnswered) this.paint(record.path);
  }

  /** Name, labels and largest probability of each attribute that the model has, of a record. */
  aboutOf(record) {
    const { endings } = this.rules.attributes;
    return Object.keys(this.model.attributes).map((name) => {
      const [label, probability] = endings[name].map((ending) => record[name + ending]);
      return { name, label, probability };
    });
  }

  showScale(probability, policy) {
    const { threshold, uncertain_low: low, uncertain_high: high } = policy;
    byId("probability").textContent = `${TEXTS.probability} = ${probability.toFixed(3)}`;
    byId("scale").setAttribute("aria-label", TEXTS.scale(probability, policy));
    const band = byId("scale-band");
    band.hidden = low >= high;
    band.style.left = `${100 * low}%`;
    band.style.width = `${100 * (high - low)}%`;
    byId("band-text").textContent = TEXTS.band(policy);
    const mark = byId("scale-threshold");
    mark.style.left = `${100 * threshold}%`;
    mark.dataset.words = `${TEXTS.threshold} ${threshold.toFixed(3)}`;
    mark.className = threshold < 0.2 ? "left" : threshold > 0.8 ? "right" : "";
    byId("scale-value").style.left = `${100 * probability}%`;
  }

  paint(name = this.shown?.outcome.path) {
    const { outcome, copy } = this.shown ?? {};
    const strength = Number(byId("strength").value);
    byId("strength-value").textContent = `${strength} %`;
    if (!outcome || outcome.probability === null) return;
    const canvas = byId("canvas");
    const hasMap = Boolean(outcome.heatmap);
    for (const id of ["strength-row", "map-hint", "legend"]) byId(id).hidden = !hasMap;
    canvas.hidden = !copy;
    byId("no-picture").hidden = copy !== null;
    byId("no-picture").textContent = TEXTS.noPicture;
    if (!copy) return;
    canvas.setAttribute("aria-label", TEXTS.picture(name, hasMap && strength > 0));
    const size = [copy.width, copy.height];
    if (hasMap) this.shown.evidence ??= overImage(outcome.heatmap, this.model.preprocessing, size, copy.isTurned);
    [canvas.width, canvas.height] = size;
    const pixels = blended(this.rules, copy, this.shown.evidence, strength / 100);
    canvas.getContext("2d").putImageData(new ImageData(pixels, ...size), 0, 0);
  }

  paintLegend() {
    const pixels = new Uint8ClampedArray(256 * 4);
    colourTable(this.rules).forEach((colour, i) => pixels.set([...colour, 255], 4 * i));
    byId("colours")
      .getContext("2d")
      .putImageData(new ImageData(pixels, 256, 1), 0, 0);
  }
}
