// The page's JavaScript gives the answers of the program for the pictures of golden.json, which the program writes:
// `python -m benchmarks.studies page-golden`.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { describe } from "../src/attributes.js";
import { classify } from "../src/classify.js";
import { overImage } from "../src/heatmap.js";
import { TEXTS } from "../src/page/texts.js";
import { openImage } from "../src/picture.js";
import { decide } from "../src/policy.js";
import { framed } from "../src/preprocess.js";
import { measure } from "../src/suitability.js";
import { csv, recordOf } from "../src/records.js";
import { openSession } from "../src/session.js";
import { prepareWebp } from "../src/webp.js";

const read = (path) => readFileSync(new URL(path, import.meta.url));
const golden = JSON.parse(read("golden.json"));
const { contract: rules, model } = golden;
await prepareWebp(await WebAssembly.compile(read("../node_modules/@jsquash/webp/codec/dec/webp_dec.wasm")));
const run = await openSession(
  rules,
  read("../node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"),
  read("../../fracture_edge/models/edge-int8.onnx"),
);

const digest = (pixels) => createHash("sha256").update(pixels).digest("hex");
const near = (found, wanted, tolerance, what) =>
  assert.ok(Math.abs(found - wanted) <= tolerance, `${what}: ${found}, not ${wanted}`);
// Formats that the program reads and the page refuses.
const REFUSED = new Set(["picture.tif"]);
// Both add up in the fixed order of the graph; SIMD units add the same products in another one.
const PROBABILITY_TOLERANCE = 1e-6;
// Of body part and view: the terms of their log-odds are much larger than the sum.
const FURTHER_TOLERANCE = 1e-5;

for (const { name, data, frames } of golden.cases) {
  test(name, async () => {
    const bytes = new Uint8Array(Buffer.from(data, "base64"));
    const found = [];
    for await (const one of classify({ rules, model, run }, name, bytes)) found.push(one);
    if (REFUSED.has(name)) {
      assert.equal(found[0].outcome.status, "decoder_not_installed");
      assert.match(found[0].outcome.reason, /is not read on this page/);
      return;
    }
    assert.equal(found.length, frames.length);
    for (const [i, wanted] of frames.entries()) {
      const { outcome, picture } = found[i];
      const record = recordOf(rules, model, model.policies[0], outcome);
      for (const [field, value] of Object.entries(wanted.record)) {
        if (field === "probability" && value !== null) near(record[field], value, PROBABILITY_TOLERANCE, field);
        else if (field.endsWith("_probability") && value !== null)
          near(record[field], value, FURTHER_TOLERANCE, field);
        else assert.deepEqual(record[field], value, field);
      }
      if (wanted.grey) comparePicture(picture, outcome, wanted);
    }
  });
}

function comparePicture(picture, outcome, wanted) {
  assert.deepEqual([picture.width, picture.height], wanted.size);
  assert.equal(digest(picture.pixels), wanted.grey, "grey levels");
  assert.equal(picture.colour, wanted.colour, "share of colour");
  near(picture.aspect, wanted.aspect, 1e-12, "aspect");
  const input = framed(rules, model.preprocessing, picture);
  assert.equal(digest(input.pixels), wanted.input, "model input");
  golden.specs.forEach((spec, i) =>
    assert.equal(digest(framed(rules, spec, picture).pixels), wanted.specs[i], `preprocessing ${i}`),
  );
  const side = Math.min(picture.width, picture.height);
  const measures = measure(rules, input.content, side, picture.colour);
  // Sums of up to 81,920 numbers in another order.
  for (const [key, value] of Object.entries(wanted.measures))
    near(measures[key], value, 1e-9 * Math.max(1, value), key);
  const { heatmap } = outcome;
  // Evidence is divided by the largest of all, and its sums differ as the probability does.
  wanted.heatmap.flat().forEach((value, i) => near(heatmap.values[i], value, 1e-5, "heat map"));
  const exact = { ...heatmap, values: wanted.heatmap.flat() };
  const over = overImage(exact, model.preprocessing, [90, 120], false);
  wanted.over.forEach((row, y) =>
    row.forEach((level, x) => near(over[7 * y * 90 + 7 * x] * 255, level, 0.51, "over image")),
  );
}

test("decisions at the ends of bands", () => {
  for (const {
    policy: [threshold, low, high],
    probability,
    decision,
    code,
    text,
  } of golden.policies) {
    const found = decide(rules, { threshold, uncertain_low: low, uncertain_high: high }, probability);
    assert.deepEqual(found, { decision, code, text });
  }
  assert.ok(golden.policies.length >= 21);
});

test("descriptions by body part, view and classes", () => {
  for (const { model: described, outputs, header, columns, remark, csv: wanted } of golden.described) {
    const found = describe(rules, described, outputs, header);
    const plain = Object.entries(found.columns).map(([name, value]) => [
      name,
      value instanceof Map ? Object.fromEntries(value) : value,
    ]);
    assert.deepEqual(Object.fromEntries(plain), columns);
    assert.equal(found.remark, remark);
    const cells = csv({ csv: { ...rules.csv, columns: [] } }, described, [found.columns]).split("\n")[1];
    assert.equal(`${cells}\n`, wanted);
  }
  const codes = new Set(golden.described.map(({ columns }) => columns.body_part_code));
  assert.deepEqual(codes, new Set([null, undefined, ...Object.values(rules.attributes.codes)]));
});

test("the pictures have body parts that are unknown, contradicted, and neither", () => {
  const found = new Set(golden.cases.flatMap(({ frames }) => frames.map(({ record }) => record.body_part_code)));
  assert.deepEqual(found, new Set([null, ...Object.values(rules.attributes.codes)]));
});

test("the page says which images the figures of an operating point are of", () => {
  const measured = { sensitivity: 0.9, specificity: 0.95, uncertain_share: 0.25, sensitivity_margin: 0.01 };
  const rest = "sensitivity 90 % and specificity 95 % of the decided images; 25 % left uncertain.";
  const beginnings = {
    "out-of-fold": "Out of fold, on the images to which it was fitted",
    validation: "On the validation images, to which it was fitted",
    "": "On the images to which it was fitted",
    other: "On the images to which it was fitted",
  };
  for (const [images, words] of Object.entries(beginnings))
    assert.equal(TEXTS.policy({ images, measured }), `${words}: ${rest}`);
  assert.equal(TEXTS.policy({ threshold: 0.5 }), "");
  assert.ok(model.policies.every(({ images }) => images in beginnings));
});

test("a changed pixel changes the model input", () => {
  const { data } = golden.cases.find(({ name }) => name.startsWith("bmp-8"));
  const bytes = new Uint8Array(Buffer.from(data, "base64"));
  return openImage(rules, bytes, null)
    .read(0)
    .then((picture) => {
      const before = digest(framed(rules, model.preprocessing, picture).pixels);
      const pixels = picture.pixels.slice();
      pixels[Math.floor(pixels.length / 2)] ^= 255;
      assert.notEqual(digest(framed(rules, model.preprocessing, { ...picture, pixels }).pixels), before);
    });
});

test("CSV has the columns of the program, and no formulas", () => {
  const outcome = {
    path: "=1+1,2.png",
    frame: 1,
    frames: 1,
    status: "ok",
    probability: 0.00001,
    problem: null,
    about: describe(rules, model, { body_part: [0.25, 0.75, 0, 0], view: [0, 0.125, 0] }, ""),
    pictures: 1,
    elapsed: 12,
  };
  const text = csv(rules, model, [recordOf(rules, model, model.policies[0], outcome)]);
  const [header, line] = text.split("\n");
  assert.equal(header, golden.columns.join(","));
  assert.ok(line.startsWith('"\'=1+1,2.png",1,1,ok,not_fractured,1e-05,'), line);
  assert.ok(line.endsWith(",12.0,below_threshold,leg,0.75,,,0.125"), line);
});
