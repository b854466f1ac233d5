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
  noPicture: "The picture is not shown because it could not be read again.",
  policyName: (name) => (name ? name.replaceAll("_", " ") : "the model's own"),
  policy: (policy) => {
    const { sensitivity, specificity, uncertain_share: uncertain } = policy.validation ?? {};
    const percent = (share) => `${(100 * share).toFixed(0)} %`;
    const parts = [
      sensitivity === undefined ? "" : `sensitivity ${percent(sensitivity)}`,
      specificity === undefined ? "" : `specificity ${percent(specificity)}`,
    ].filter(Boolean);
    const decided = parts.length ? `${parts.join(" and ")} of the decided images` : "";
    const left = uncertain === undefined ? "" : `${percent(uncertain)} left uncertain`;
    const all = [decided, left].filter(Boolean).join("; ");
    return all ? `On the validation images: ${all}.` : "";
  },
  counts: (counts) => counts.map(([words, count]) => `${count} ${words.toLowerCase()}`).join(", "),
  announce: (record, words) =>
    record.probability === null
      ? `${record.path}: ${words}. ${record.reason}`
      : `${record.path}: ${words}, P(fractured) ${record.probability.toFixed(3)}, ${record.reason}`,
  show: (name) => `Show ${name}`,
  csvName: "answers.csv",
};
