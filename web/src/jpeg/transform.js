/**
 * Inverse cosine transformations of 8x8 coefficients to 8x8, 4x4, 2x2 pixels or one, in the fixed point of libjpeg's
 * accurate integer method (jidctint.c and jidctred.c), so that the pixels are those of Pillow.
 */

const CONSTANT_BITS = 13;
const PASS_BITS = 2;
const fixed = (value) => Math.round(value * (1 << CONSTANT_BITS));

/** Cosines and their sums, in fixed point; named by their values. */
const [C0_541, C1_848, C0_765, C1_176] = [0.5411961, 1.847759065, 0.765366865, 1.175875602].map(fixed);
const [C0_299, C2_053, C3_073, C1_501] = [0.298631336, 2.053119869, 3.072711026, 1.50132111].map(fixed);
const [C0_900, C2_563, C1_962, C0_390] = [0.899976223, 2.562915447, 1.96157056, 0.390180644].map(fixed);
const [C0_211, C1_452, C2_173, C1_062] = [0.211164243, 1.451774981, 2.172734803, 1.061594337].map(fixed);
const [C0_510, C0_601, C0_721, C0_850] = [0.509795579, 0.601344887, 0.720959822, 0.850430095].map(fixed);
const [C1_273, C3_625] = [1.27275858, 3.624509785].map(fixed);

const work = new Int32Array(64);

function level(value) {
  return value < -128 ? 0 : value > 127 ? 255 : value + 128;
}

/** Transform one line of eight in place: of `work`, from `at`, in steps; rounded away by `shift` bits. */
function line8(at, step, shift) {
  const round = 1 << (shift - 1);
  const [s0, s1, s2, s3] = [work[at], work[at + step], work[at + 2 * step], work[at + 3 * step]];
  const [s4, s5, s6, s7] = [work[at + 4 * step], work[at + 5 * step], work[at + 6 * step], work[at + 7 * step]];
  const z1 = (s2 + s6) * C0_541;
  const t2 = z1 - s6 * C1_848;
  const t3 = z1 + s2 * C0_765;
  const t0 = (s0 + s4) << CONSTANT_BITS;
  const t1 = (s0 - s4) << CONSTANT_BITS;
  const [t10, t13, t11, t12] = [t0 + t3, t0 - t3, t1 + t2, t1 - t2];
  const z5 = (s7 + s3 + s5 + s1) * C1_176;
  const a1 = -(s7 + s1) * C0_900;
  const a2 = -(s5 + s3) * C2_563;
  const a3 = z5 - (s7 + s3) * C1_962;
  const a4 = z5 - (s5 + s1) * C0_390;
  const u0 = s7 * C0_299 + a1 + a3;
  const u1 = s5 * C2_053 + a2 + a4;
  const u2 = s3 * C3_073 + a2 + a3;
  const u3 = s1 * C1_501 + a1 + a4;
  work[at] = (t10 + u3 + round) >> shift;
  work[at + 7 * step] = (t10 - u3 + round) >> shift;
  work[at + step] = (t11 + u2 + round) >> shift;
  work[at + 6 * step] = (t11 - u2 + round) >> shift;
  work[at + 2 * step] = (t12 + u1 + round) >> shift;
  work[at + 5 * step] = (t12 - u1 + round) >> shift;
  work[at + 3 * step] = (t13 + u0 + round) >> shift;
  work[at + 4 * step] = (t13 - u0 + round) >> shift;
}

function line4(at, step, shift) {
  const round = 1 << (shift - 1);
  const t0 = work[at] << (CONSTANT_BITS + 1);
  const t2 = work[at + 2 * step] * C1_848 - work[at + 6 * step] * C0_765;
  const [s7, s5, s3, s1] = [work[at + 7 * step], work[at + 5 * step], work[at + 3 * step], work[at + step]];
  const u0 = -s7 * C0_211 + s5 * C1_452 - s3 * C2_173 + s1 * C1_062;
  const u2 = -s7 * C0_510 - s5 * C0_601 + s3 * C0_900 + s1 * C2_563;
  work[at] = (t0 + t2 + u2 + round) >> shift;
  work[at + 3 * step] = (t0 + t2 - u2 + round) >> shift;
  work[at + step] = (t0 - t2 + u0 + round) >> shift;
  work[at + 2 * step] = (t0 - t2 - u0 + round) >> shift;
}

function line2(at, step, shift) {
  const round = 1 << (shift - 1);
  const t10 = work[at] << (CONSTANT_BITS + 2);
  const t0 =
    -work[at + 7 * step] * C0_721 + work[at + 5 * step] * C0_850 - work[at + 3 * step] * C1_273 + work[at + step] * C3_625;
  work[at] = (t10 + t0 + round) >> shift;
  work[at + step] = (t10 - t0 + round) >> shift;
}

/** Lines of each size, the columns and rows that they are made of, and the bits that they add to PASS_BITS. */
const LINES = {
  8: { line: line8, columns: [0, 1, 2, 3, 4, 5, 6, 7], more: 0 },
  4: { line: line4, columns: [0, 1, 2, 3, 5, 6, 7], more: 1 },
  2: { line: line2, columns: [0, 1, 3, 5, 7], more: 2 },
};

/**
 * Transform a block to pixels.
 * @param {Int16Array} coefficients Coefficients; those of the block are at `from` to `from` + 63.
 * @param {Int32Array} table Quantisation table.
 * @param {number} size Size of the block in pixels: 8, 4, 2 or 1.
 * @param {Uint8Array} plane Pixels of the component.
 * @param {number} to Place of the first pixel.
 * @param {number} stride Distance of two rows.
 */
export function transform(coefficients, from, table, size, plane, to, stride) {
  const flat = coefficients[from] * table[0];
  let isFlat = true;
  for (let i = 1; i < 64; i++) if (coefficients[from + i]) isFlat = false;
  if (size === 1 || isFlat) {
    // The constant part is the same number in all sizes.
    const value = level((flat + 4) >> 3);
    for (let y = 0; y < size; y++) plane.fill(value, to + y * stride, to + y * stride + size);
    return;
  }
  for (let i = 0; i < 64; i++) work[i] = coefficients[from + i] * table[i];
  const { line, columns, more } = LINES[size];
  for (const column of columns) line(column, 8, CONSTANT_BITS - PASS_BITS + more);
  for (let y = 0; y < size; y++) {
    line(8 * y, 1, CONSTANT_BITS + PASS_BITS + 3 + more);
    for (let x = 0; x < size; x++) plane[to + y * stride + x] = level(work[8 * y + x]);
  }
}
