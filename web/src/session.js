/**
 * onnxruntime in the browser: its WASM build on one thread, which gives the program's answers.
 */
import * as ort from "onnxruntime-web/wasm";

/**
 * Open a model.
 * @param {object} rules Contract with the program.
 * @param {Uint8Array} wasm Content of onnxruntime's WASM file.
 * @param {Uint8Array} model Content of the model file.
 * @returns {Promise<(pixels: Uint8Array) => Promise<object>>} Function that runs the model on one input.
 */
export async function openSession(rules, wasm, model) {
  // One thread: a page from a file is never isolated, and has no shared memory.
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.proxy = false;
  // Never "relaxed": without VNNI its 8-bit products would saturate.
  ort.env.wasm.simd = "fixed";
  ort.env.wasm.wasmBinary = wasm;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(model, {
    executionProviders: ["wasm"],
    enableCpuMemArena: false,
  });
  const { input, probability, atypicality, heatmap } = rules.tensors;
  const there = (names) => names.filter((name) => session.outputNames.includes(name));
  const attributes = there([...rules.attributes.outputs, rules.attributes.classes]);
  const wanted = [...there([probability, atypicality, heatmap]), ...attributes];
  if (!session.inputNames.includes(input) || !wanted.includes(probability))
    throw new Error(`no '${input}' or '${probability}'`);
  const shape = session.inputMetadata.find(({ name }) => name === input).shape;
  return async (pixels) => {
    const feed = new ort.Tensor("uint8", pixels, [1, shape[1], shape[2], 1]);
    const found = await session.run({ [input]: feed }, wanted);
    const map = found[heatmap];
    const result = {
      probability: found[probability].data[0],
      atypicality: found[atypicality] ? found[atypicality].data[0] : null,
      heatmap: map ? { values: Float64Array.from(map.data), height: map.dims[1], width: map.dims[2] } : null,
      further: Object.fromEntries(attributes.map((name) => [name, Array.from(found[name].data)])),
    };
    Object.values(found).forEach((tensor) => tensor.dispose());
    return result;
  };
}
