/**
 * From a grey image to the input of the model, as the model's metadata says; `fracture_edge/preprocess.py`.
 */
import { roundHalfEven } from "./format.js";
import { resize } from "./resample.js";

/** Compute the size of an image in units of the width of a pixel. */
export function trueSize(rules, width, height, aspect) {
  return isPlausible(rules, aspect) ? [width, height * aspect] : [width, height];
}

/** Return whether an aspect ratio of pixels can be believed. */
export function isPlausible(rules, aspect) {
  return aspect >= 1 / rules.aspect.most && aspect <= rules.aspect.most;
}

/**
 * Compute the aspect ratio of a pixel from what a header states.
 * @returns {number} Height divided by width; 1 if it is square up to rounding, or a value is no positive number.
 */
export function pixelAspect(rules, height, width) {
  const ratio = height / width;
  const isValid = height > 0 && width > 0 && ratio > 0 && Number.isFinite(ratio);
  return !isValid || Math.abs(ratio - 1) <= rules.aspect.rounding ? 1 : ratio;
}

/** Return whether an image of this size is turned by 90 degrees before it is framed. */
export function turns(preprocessing, width, height) {
  return preprocessing.orientation === "portrait" && width > height;
}

/** Compute the part [left, top, width, height] of the model input that shows an image of this size after turning. */
export function frame(preprocessing, width, height) {
  const { width: across, height: down, framing } = preprocessing;
  if (framing === "stretch") return [0, 0, across, down];
  const scale = Math.min(across / width, down / height);
  const wide = Math.min(across, Math.max(1, roundHalfEven(width * scale)));
  const high = Math.min(down, Math.max(1, roundHalfEven(height * scale)));
  return [Math.floor((across - wide) / 2), Math.floor((down - high) / 2), wide, high];
}

/** Turn an image by 90 degrees anticlockwise. */
export function turned({ pixels, width, height }) {
  const result = new Uint8Array(pixels.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) result[(width - 1 - x) * height + y] = pixels[y * width + x];
  }
  return { pixels: result, width: height, height: width };
}

/**
 * Resize and frame one image.
 * @param {object} rules Contract with the program.
 * @param {object} preprocessing Preprocessing of the model.
 * @param {{pixels: Uint8Array, width: number, height: number, aspect: number}} picture
 * @returns {{pixels: Uint8Array, content: {pixels: Uint8Array, width: number, height: number}}} Model input, and the
 *   part of it that shows the image.
 */
export function framed(rules, preprocessing, picture) {
  let image = picture;
  let size = trueSize(rules, image.width, image.height, picture.aspect);
  if (turns(preprocessing, ...size)) {
    image = turned(image);
    size = [size[1], size[0]];
  }
  const [left, top, width, height] = frame(preprocessing, ...size);
  const content = resize(image, width, height, preprocessing.filter);
  const { width: across, height: down, pad } = preprocessing;
  const pixels = new Uint8Array(across * down).fill(pad);
  for (let y = 0; y < height; y++) {
    pixels.set(content.pixels.subarray(y * width, (y + 1) * width), (top + y) * across + left);
  }
  return { pixels, content };
}
