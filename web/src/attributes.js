/**
 * Body part, view and classes of an image, from further outputs of a model; `fracture_edge/attributes.py`.
 */
import { format } from "./format.js";

/**
 * Describe an image by the further outputs of the model.
 * @param {object} rules Contract with the program.
 * @param {object} model Record of the model.
 * @param {Object<string, number[]>} outputs Values of each output for this image, by its name.
 * @param {string} header Body part that the DICOM header states, in upper case; empty if it states none.
 * @returns {{columns: object, remark: string}} Values of the fields of the record, and what the reason ends with.
 */
export function describe(rules, model, outputs, header) {
  const { attributes: own } = rules;
  const columns = {};
  let remark = "";
  for (const [name, { labels, threshold }] of Object.entries(model.attributes)) {
    const [label, probability, code] = own.endings[name].map((ending) => name + ending);
    const values = outputs[name];
    // The program compares numbers of 32 bits.
    const seen = labels.filter((_, i) => values[i] >= Math.fround(threshold));
    columns[label] = seen.join(own.joined) || null;
    columns[probability] = Math.max(...values);
    if (name === own.body_part) {
      const stated = headerParts(rules, header).filter((part) => labels.includes(part));
      const found = remarkOn(own, seen, stated);
      columns[code] = found.code;
      remark = found.text;
    }
  }
  if (model.classes.length) {
    columns[own.classes] = new Map(model.classes.map((name, i) => [name, outputs[own.classes][i]]));
  }
  return { columns, remark };
}

/**
 * Return the body parts that a DICOM header allows, in the order of the alphabet.
 * @param {object} rules Contract with the program.
 * @param {string} header Value of Body Part Examined, in upper case.
 */
export function headerParts(rules, header) {
  const known = rules.attributes.header_parts;
  const words = header.split(/[^A-Z]+/).filter((word) => Object.hasOwn(known, word));
  return [...new Set(words.flatMap((word) => known[word]))].sort();
}

/** Compare the body parts that the model sees with those that the header allows, none if it says nothing. */
function remarkOn({ codes, remarks, stated_joined: or, seen_joined: and }, seen, stated) {
  if (!seen.length) return { code: codes.UNKNOWN, text: remarks[codes.UNKNOWN] };
  if (stated.length && !stated.some((part) => seen.includes(part))) {
    const parts = { stated: stated.join(or), seen: seen.join(and) };
    return { code: codes.CONTRADICTION, text: format(remarks[codes.CONTRADICTION], parts) };
  }
  return { code: null, text: "" };
}
