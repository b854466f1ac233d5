import { format } from "./format.js";

/**
 * Turn a probability into a decision and its reason; `fracture_edge/policy.py`.
 * @param {object} rules Contract with the program.
 * @param {{threshold: number, uncertain_low: number, uncertain_high: number}} policy
 * @param {number} probability P(fractured).
 * @param {?{code: string, text: string}} problem Reason why the decision is "uncertain" whatever the probability.
 * @returns {{decision: string, code: string, text: string}}
 */
export function decide(rules, policy, probability, problem = null) {
  if (problem) return { decision: rules.decisions.UNCERTAIN, ...problem };
  const isWithin = policy.uncertain_low <= probability && probability < policy.uncertain_high;
  const [decision, code] = isWithin
    ? ["UNCERTAIN", "within_band"]
    : probability >= policy.threshold
      ? ["FRACTURED", "above_threshold"]
      : ["NOT_FRACTURED", "below_threshold"];
  return { decision: rules.decisions[decision], code, text: format(rules.sentences[code], policy) };
}
