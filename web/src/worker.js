/**
 * Worker of the page: it owns the model and decodes pictures, so that the page stays alive.
 *
 * Messages in: `open` with the parts of the page, `classify` and `view` with a file. Messages out: `ready` or
 * `failed`, one `outcome` for each frame and then `done`, and `view`.
 */
import { classify } from "./classify.js";
import { Refusal, refusal } from "./errors.js";
import { displayCopy } from "./heatmap.js";
import { checkFileSize, openImage } from "./picture.js";
import { openSession } from "./session.js";
import { prepareWebp } from "./webp.js";

let context = null;

async function open({ rules, model, parts }) {
  await prepareWebp(await WebAssembly.compile(parts.webp));
  const run = await openSession(rules, parts.ort, new Uint8Array(parts.model));
  context = { rules, model, run };
}

/** Read a file; one that is too large is not read at all. */
async function contentOf(file) {
  checkFileSize(context.rules, file.size);
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch (error) {
    throw new Refusal(context.rules.statuses.UNREADABLE, error.message);
  }
}

async function classifyFile({ id, path, file, wantsView }) {
  const started = performance.now();
  let bytes;
  try {
    bytes = await contentOf(file);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const outcome = { path, frame: 1, frames: 1, status: error.status, reason: error.detail, probability: null };
    postMessage({
      type: "outcome",
      id,
      outcome: { ...outcome, elapsed: performance.now() - started },
      copy: null,
    });
    return;
  }
  for await (const { outcome, picture } of classify(context, path, bytes, started)) {
    const isShown = wantsView && outcome.frame === 1 && picture && outcome.probability !== null;
    const copy = isShown ? displayCopy(context.rules, context.model.preprocessing, picture) : null;
    postMessage({ type: "outcome", id, outcome, copy }, copy ? [copy.pixels.buffer] : []);
  }
}

/** Decode a frame once more, for display. */
async function view({ id, file, frame }) {
  const opened = openImage(context.rules, await contentOf(file), context.model.preprocessing);
  const copy = displayCopy(context.rules, context.model.preprocessing, await opened.read(frame - 1));
  postMessage({ type: "view", id, copy }, [copy.pixels.buffer]);
}

async function handle(message) {
  if (message.type === "open") {
    try {
      await open(message);
      postMessage({ type: "ready" });
    } catch (error) {
      postMessage({ type: "failed", reason: String(error?.message ?? error).split("\n")[0] });
    }
  } else if (message.type === "classify") {
    try {
      await classifyFile(message);
    } catch (error) {
      const reason = refusal(context.rules, "CORRUPT", "broken", {
        format: "image",
        error: error?.name ?? "error",
      });
      const outcome = {
        path: message.path,
        frame: 1,
        frames: 1,
        status: reason.status,
        reason: reason.detail,
        probability: null,
        elapsed: 0,
      };
      postMessage({ type: "outcome", id: message.id, outcome, copy: null });
    }
    postMessage({ type: "done", id: message.id });
  } else {
    await view(message).catch(() => postMessage({ type: "view", id: message.id, copy: null }));
  }
}

// One after the other: two pictures at a time would take twice the memory.
let last = Promise.resolve();
addEventListener("message", ({ data }) => {
  last = last.then(() => handle(data));
});
