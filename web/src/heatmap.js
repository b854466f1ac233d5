/**
 * Heat maps over their images; `fracture_edge/heatmap.py`.
 */
import { frame, trueSize, turns } from "./preprocess.js";
import { resize, weights } from "./resample.js";

function alongRows(values, width, height, after, box) {
  const { firsts, lengths, shares, longest } = weights(width, after, "bilinear", box);
  const result = new Float64Array(after * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < after; x++) {
      let sum = 0;
      for (let i = 0; i < lengths[x]; i++) sum += values[y * width + firsts[x] + i] * shares[x * longest + i];
      result[y * after + x] = Math.fround(sum);
    }
  }
  return result;
}

function transposed(values, width, height) {
  const result = new Float64Array(values.length);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) result[x * height + y] = values[y * width + x];
  return result;
}

/**
 * Resize a heat map to its image: cut off the letterbox bars, undo the rotation, interpolate.
 * @param {{values: ArrayLike<number>, width: number, height: number}} map Heat map of the complete model input.
 * @param {object} preprocessing Preprocessing of the model.
 * @param {[number, number]} size Width and height of the image, or of a reduced copy, in square pixels.
 * @param {boolean} isTurned Whether the preprocessing turned the image.
 * @returns {Float64Array} Evidence at each pixel, 0 to 1.
 */
export function overImage(map, preprocessing, size, isTurned) {
  const [width, height] = isTurned ? [size[1], size[0]] : size;
  const [left, top, across, down] = frame(preprocessing, width, height);
  const toColumns = map.width / preprocessing.width;
  const toRows = map.height / preprocessing.height;
  const columns = [left * toColumns, (left + across) * toColumns];
  const rows = [top * toRows, (top + down) * toRows];
  let values = alongRows(map.values, map.width, map.height, width, columns);
  values = alongRows(transposed(values, width, map.height), map.height, width, height, rows);
  // Turned back by 90 degrees clockwise: the columns of the upright map are the rows of the image, from its end.
  const upright = transposed(values, height, width);
  const result = isTurned ? new Float64Array(upright.length) : upright;
  if (isTurned) {
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) result[x * height + (height - 1 - y)] = upright[y * width + x];
  }
  return result.map((value) => Math.min(1, Math.max(0, value)));
}

/**
 * Reduce a picture for display, in its true proportions.
 * @param {object} rules Contract with the program.
 * @param {object} preprocessing Preprocessing of the model.
 * @param {object} picture Grey picture, with its aspect.
 * @returns {{pixels: Uint8Array, width: number, height: number, isTurned: boolean}}
 */
export function displayCopy(rules, preprocessing, picture) {
  const size = trueSize(rules, picture.width, picture.height, picture.aspect);
  const longest = Math.min(rules.heatmap.longest_side, Math.max(picture.width, picture.height));
  const scale = longest / Math.max(...size);
  const [width, height] = size.map((side) => Math.max(1, Math.round(side * scale)));
  return { ...resize(picture, width, height, "bilinear"), isTurned: turns(preprocessing, ...size) };
}

/**
 * Blend a heat map over a picture.
 * @param {object} rules Contract with the program.
 * @param {{pixels: Uint8Array, width: number, height: number}} copy Picture for display.
 * @param {?Float64Array} evidence Evidence at each pixel; null shows the picture alone.
 * @param {number} strength Opacity at the largest evidence, 0 to 1.
 * @returns {Uint8ClampedArray} RGBA.
 */
export function blended(rules, { pixels }, evidence, strength) {
  const table = colourTable(rules);
  const result = new Uint8ClampedArray(4 * pixels.length);
  for (let i = 0; i < pixels.length; i++) {
    const share = evidence ? evidence[i] : 0;
    const alpha = strength * share;
    const colour = table[Math.round(share * 255)];
    for (let j = 0; j < 3; j++) result[4 * i + j] = (1 - alpha) * pixels[i] + alpha * colour[j];
    result[4 * i + 3] = 255;
  }
  return result;
}

/** Return the colours of the map at 256 equal steps. */
export function colourTable(rules) {
  const { colours } = rules.heatmap;
  return Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (colours.length - 1);
    const first = Math.min(colours.length - 2, Math.floor(place));
    return colours[first].map((from, j) => from + (place - first) * (colours[first + 1][j] - from));
  });
}
