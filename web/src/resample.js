/**
 * Pillow's resampling of 8-bit images, bit for bit: weights in fixed point, the width first, then the height, each
 * rounded to 8 bits. `tests/fracture_edge/test_resize.py` has the same reference in Python.
 */

/** Pillow's fixed point: 8 bits of the pixel and 2 bits of headroom are left for the sums of 32-bit integers. */
const PRECISION = 32 - 8 - 2;

function cubic(x) {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (-0.5 * (x - 5) * x - 4) * x + 2 : 0;
}

function sinc(x) {
  return x ? Math.sin(x * Math.PI) / (x * Math.PI) : 1;
}

/** Kernels as Pillow computes them, and how far they reach. */
const KERNELS = {
  box: [(x) => (x > -0.5 && x <= 0.5 ? 1 : 0), 0.5],
  bilinear: [(x) => Math.max(0, 1 - Math.abs(x)), 1],
  bicubic: [cubic, 2],
  lanczos: [(x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0), 3],
};

/**
 * Compute the weights of the pixels before for each pixel after.
 * @param {number} before Number of pixels of a line before.
 * @param {number} after Number of pixels after.
 * @param {string} name Name of the filter.
 * @param {[number, number]} box Begin and end of the part of the line that is resized.
 * @returns {{firsts: Int32Array, lengths: Int32Array, shares: Float64Array, longest: number}} Of each pixel after:
 *   first pixel before, number of them, and `longest` places for their weights.
 */
export function weights(before, after, name, box = [0, before]) {
  const [kernel, reach] = KERNELS[name];
  const scale = (box[1] - box[0]) / after;
  const stretch = Math.max(scale, 1);
  const support = reach * stretch;
  const longest = Math.ceil(support) * 2 + 1;
  const firsts = new Int32Array(after);
  const lengths = new Int32Array(after);
  const shares = new Float64Array(after * longest);
  for (let place = 0; place < after; place++) {
    const centre = box[0] + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(before, Math.trunc(centre + support + 0.5));
    let total = 0;
    for (let at = first; at < last; at++) {
      const weight = kernel((at - centre + 0.5) * (1 / stretch));
      shares[place * longest + at - first] = weight;
      total += weight;
    }
    for (let i = 0; i < last - first; i++) if (total) shares[place * longest + i] *= 1 / total;
    firsts[place] = first;
    lengths[place] = last - first;
  }
  return { firsts, lengths, shares, longest };
}

function fixedPoint(shares) {
  return Int32Array.from(shares, (share) => {
    const scaled = share * (1 << PRECISION);
    return Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
  });
}

function clip(sum) {
  const value = sum >> PRECISION;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

function resizeWidth(grey, width, height, after, name) {
  const { firsts, lengths, shares, longest } = weights(width, after, name);
  const table = fixedPoint(shares);
  const result = new Uint8Array(after * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < after; x++) {
      let sum = 1 << (PRECISION - 1);
      const from = y * width + firsts[x];
      const at = x * longest;
      for (let i = 0; i < lengths[x]; i++) sum += grey[from + i] * table[at + i];
      result[y * after + x] = clip(sum);
    }
  }
  return result;
}

function resizeHeight(grey, width, height, after, name) {
  const { firsts, lengths, shares, longest } = weights(height, after, name);
  const table = fixedPoint(shares);
  const result = new Uint8Array(width * after);
  const sums = new Int32Array(width);
  for (let y = 0; y < after; y++) {
    sums.fill(1 << (PRECISION - 1));
    for (let i = 0; i < lengths[y]; i++) {
      const weight = table[y * longest + i];
      const from = (firsts[y] + i) * width;
      for (let x = 0; x < width; x++) sums[x] += grey[from + x] * weight;
    }
    for (let x = 0; x < width; x++) result[y * width + x] = clip(sums[x]);
  }
  return result;
}

/**
 * Resize a grey image, the width first.
 * @param {{pixels: Uint8Array, width: number, height: number}} image
 * @param {number} width Width after.
 * @param {number} height Height after.
 * @param {string} name Filter: box, bilinear, bicubic or lanczos.
 */
export function resize(image, width, height, name) {
  let { pixels } = image;
  if (image.width !== width) pixels = resizeWidth(pixels, image.width, image.height, width, name);
  if (image.height !== height) pixels = resizeHeight(pixels, width, image.height, height, name);
  return { pixels, width, height };
}
