/**
 * From the content of a file to its records; `fracture_edge/decoding.py` and `classifier.py`.
 */
import { describe } from "./attributes.js";
import { Refusal, refusal } from "./errors.js";
import { openImage } from "./picture.js";
import { framed } from "./preprocess.js";
import { checkAspect, checkAtypicality, findProblem, measure } from "./suitability.js";

/**
 * Classify every frame of a file. What depends on the policy is left to `recordOf` of records.js.
 * @param {object} context `rules`, the contract with the program; `model`, its record; `run`, a function that takes
 *   the model input and returns `{probability, atypicality, heatmap, further}`.
 * @param {string} path Path or name of the file.
 * @param {Uint8Array} bytes Content of the file.
 * @param {number} started Time at which reading began, in milliseconds.
 * @yields {{outcome: object, picture: ?object}} Outcome of each frame, and its grey picture.
 */
export async function* classify({ rules, model, run }, path, bytes, started = performance.now()) {
  const { preprocessing } = model;
  let file;
  try {
    file = openImage(rules, bytes, preprocessing);
    const { max_frames: limit } = rules.limits;
    if (file.frames > limit) throw refusal(rules, "TOO_LARGE", "too_many_frames", { frames: file.frames, limit });
  } catch (error) {
    yield { outcome: failure({ path, frame: 1, frames: 1 }, error, started), picture: null };
    return;
  }
  for (let frame = 0; frame < file.frames; frame++) {
    const place = { path, frame: frame + 1, frames: file.frames };
    let picture = null;
    let outcome;
    try {
      picture = await file.read(frame);
      outcome = await answer({ rules, model, run }, place, picture, started);
    } catch (error) {
      outcome = failure(place, error, started);
      // Without a decoder for the file, the other frames cannot be read either.
      if (
        frame === 0 &&
        ["UNSUPPORTED_FORMAT", "DECODER_NOT_INSTALLED"].some((name) => rules.statuses[name] === outcome.status)
      ) {
        yield { outcome: { ...outcome, frames: 1 }, picture: null };
        return;
      }
    }
    yield { outcome, picture };
    started = performance.now();
  }
}

async function answer({ rules, model, run }, place, picture, started) {
  const { pixels, content } = framed(rules, model.preprocessing, picture);
  const side = Math.min(picture.width, picture.height);
  let problem =
    checkAspect(rules, picture.aspect) ??
    findProblem(rules, model.limits, measure(rules, content, side, picture.colour));
  const { probability, atypicality, heatmap, further } = await run(pixels);
  if (!Number.isFinite(probability)) throw new Error("the model gives NaN");
  if (!problem && atypicality !== null)
    problem = checkAtypicality(rules, atypicality, model.most_atypical ?? Infinity);
  return {
    ...place,
    status: rules.statuses.OK,
    probability,
    problem,
    about: describe(rules, model, further, picture.bodyPart ?? ""),
    pictures: place.frames === 1 ? picture.pictures : 1,
    heatmap,
    elapsed: performance.now() - started,
  };
}

function failure(place, error, started) {
  if (!(error instanceof Refusal)) throw error;
  return {
    ...place,
    status: error.status,
    reason: error.detail,
    probability: null,
    elapsed: performance.now() - started,
  };
}
