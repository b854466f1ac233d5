import { format } from "./format.js";

/** A file that cannot be used: status and words as in the program's records. */
export class Refusal extends Error {
  /**
   * @param {string} status Status of the record.
   * @param {string} detail Reason, without the name of the file.
   */
  constructor(status, detail) {
    super(detail);
    this.status = status;
    this.detail = detail;
  }
}

/**
 * Make a refusal from one of the program's sentences.
 * @param {object} rules Contract with the program.
 * @param {string} status Name of the status, for example "CORRUPT".
 * @param {string} sentence Name of the sentence in `rules.refusals`.
 * @param {object} values Fields of the sentence.
 */
export function refusal(rules, status, sentence, values = {}) {
  return new Refusal(rules.statuses[status], format(rules.refusals[sentence], values));
}

/** Refuse a kind of file that the program reads and the page does not. */
export function notOnThePage(rules, kind) {
  return refusal(rules, "DECODER_NOT_INSTALLED", "not_on_the_page", { kind });
}

/** The content contradicts the format. */
export function broken(rules, format, error) {
  return refusal(rules, "CORRUPT", "broken", { format, error });
}

/** The file ends too early. */
export function truncated(rules, format) {
  return refusal(rules, "TRUNCATED", "truncated", { format });
}
