import { refusal } from "./errors.js";

/** Refuse a picture that is too large to decode or too small to show a bone. */
export function checkSize(rules, width, height) {
  const { max_pixels: limit, min_side: least } = rules.limits;
  if (width * height > limit) throw refusal(rules, "TOO_LARGE", "too_many_pixels", { width, height, limit });
  if (Math.min(width, height) < least)
    throw refusal(rules, "TOO_SMALL", "too_few_pixels", { width, height, least });
}

/** Return the number of bytes that reading a file may take, its content included. */
export function maxBytes(rules) {
  return rules.limits.bytes_per_pixel * rules.limits.max_pixels;
}

/** Refuse a picture whose decoding takes too much memory. */
export function checkMemory(rules, needed) {
  const limit = maxBytes(rules);
  if (needed > limit) {
    throw refusal(rules, "TOO_LARGE", "too_much_memory", { needed: needed / 1e6, limit: limit / 1e6 });
  }
}

/**
 * Compute the bytes that the program counts for decoding a picture.
 * @param {string} mode Mode of the picture in Pillow.
 */
export function bytesToDecode(rules, mode, width, height, more = 0) {
  const perPixel = rules.limits.pillow_bytes[mode] ?? 4;
  return width * height * (perPixel + 1 + more);
}
