/**
 * English of the page, in one place. Reasons and refusals are the program's own sentences and come with the model.
 */
export const TEXTS = {
  loading: "Loading the model …",
  ready: "Ready.",
  failed: (reason) => `The model cannot run in this browser: ${reason}`,
  tooOld: "This browser is too old for the page: it lacks DecompressionStream or WebAssembly. Try a current one.",
  working: (done, all) => `${done} of ${all} files`,
  finished: (count) => `${count} ${count === 1 ? "answer" : "answers"}.`,
  decisions: { fractured: "Fractured", not_fractured: "Not fractured", uncertain: "Uncertain" },
  noAnswer: "No answer",
  statuses: {
    unreadable: "Cannot be read",
    empty: "Empty file",
    unsupported_format: "Not a format that is read",
    decoder_not_installed: "Not read on this page",
    corrupt: "Damaged file",
    truncated: "Incomplete file",
    too_large: "Too large",
    too_small: "Too small",
  },
  problems: {
    not_like_training_images: "Not like the training images",
    low_image_quality: "Low image quality",
  },
  reasonOfProbability: "By its probability",
  probability: "P(fractured)",
  scale: (p, policy) =>
    `P(fractured) ${p.toFixed(3)} on a scale from 0 to 1. Threshold ${policy.threshold.toFixed(3)}. ` +
    `${TEXTS.band(policy)}.`,
  threshold: "threshold",
  band: ({ uncertain_low: low, uncertain_high: high }) =>
    low < high ? `Uncertain from ${low.toFixed(3)} to ${high.toFixed(3)}` : "No uncertain band",
  frame: (frame, frames) => (frames > 1 ? `frame ${frame} of ${frames}` : ""),
  time: (ms) => `${Math.round(ms)} ms`,
  picture: (name, hasMap) => (hasMap ? `${name} with the heat map over it` : name),
  attributes: { body_part: "body part", view: "view" },
  notRecognised: "not recognised",
  about: (found) => {
    const words = found.map(({ name, label, probability }) =>
      label
        ? `${TEXTS.attributes[name]}: ${label} (${probability.toFixed(2)})`
        : `${TEXTS.attributes[name]}: ${TEXTS.notRecognised}`,
    );
    const text = words.join(", ");
    return text && text[0].toUpperCase() + text.slice(1);
  },
  noPicture: "The picture is not shown because it could not be read again.",
  // By the values of an operating point's `images`; older models do not say it.
  images: {
    validation: "On the validation images, to which it was fitted",
    "out-of-fold": "Out of fold, on the images to which it was fitted",
    "": "On the images to which it was fitted",
  },
  policyName: (name) => (name ? name.replaceAll("_", " ") : "the model's own"),
  policy: (policy) => {
    const { sensitivity, specificity, uncertain_share: uncertain } = policy.measured ?? {};
    const percent = (share) => `${(100 * share).toFixed(0)} %`;
    const parts = [
      sensitivity === undefined ? "" : `sensitivity ${percent(sensitivity)}`,
      specificity === undefined ? "" : `specificity ${percent(specificity)}`,
    ].filter(Boolean);
    const decided = parts.length ? `${parts.join(" and ")} of the decided images` : "";
    const left = uncertain === undefined ? "" : `${percent(uncertain)} left uncertain`;
    const all = [decided, left].filter(Boolean).join("; ");
    return all ? `${TEXTS.images[policy.images] ?? TEXTS.images[""]}: ${all}.` : "";
  },
  counts: (counts) => counts.map(([words, count]) => `${count} ${words.toLowerCase()}`).join(", "),
  announce: (record, words) =>
    record.probability === null
      ? `${record.path}: ${words}. ${record.reason}`
      : `${record.path}: ${words}, P(fractured) ${record.probability.toFixed(3)}, ${record.reason}`,
  show: (name) => `Show ${name}`,
  csvName: "answers.csv",
  noFolder: "This browser does not let a page that was opened from the disk read a folder. Open the folder, select its pictures, and drop those.",
};

/** Texts and short HTML of index.html, which the build puts in. */
export const HTML = {
  aboutAnswers: "The answers are those of the command <code>fracture-edge classify</code> with the same model: same pixels, same decision, same reason, and the same probability but for rounding (at most 0.000001; at most 0.00001 for body part and view). Large JPEG pictures are decoded at the reduced scale that the command uses, with the same arithmetic. What the command reads and this page does not is refused: TIFF, HEIC, compressed DICOM, and rare kinds of JPEG, BMP and DICOM. On a damaged JPEG file that can still be decoded, the two may differ.",
  aboutConnection: "It is one file and makes no request; its content security policy forbids connections. Pictures are read into the memory of this page only.",
  title: "fracture-edge: is a bone fractured?",
  warning: "For research and education. Not a medical device.",
  use: "Do not use it to diagnose, to treat, or to decide on care.",
  add: "Add pictures",
  invitation: "Drop X-ray pictures here, or paste one",
  choose: "Choose pictures",
  formats: "PNG, JPEG, BMP, WebP and uncompressed DICOM. Nothing leaves this page: it has no connection.",
  loading: "Loading the model …",
  operatingPoint: "Operating point",
  mapHint: "It points at what looks like a fracture, and may be wrong. Pictures without a fracture have one too.",
  all: "All answers",
  download: "Download CSV",
  table: "Table of answers",
  about: "About this page",
  progress: "Progress",
  stop: "Stop",
  answer: "Answer",
  none: "none",
  most: "most",
  map: "Heat map",
  reason: "Reason",
  time: "Time",
  clear: "Clear",
  file: "File",
  decision: "Decision",
  probability: "P(fractured)",
  model: "Model",
  licences: "Licences",
};
