/**
 * Inverse cosine transformations of 8x8 coefficients to 8x8, 4x4, 2x2 pixels or one, in the fixed point of libjpeg's
 * accurate integer method (jidctint.c and jidctred.c), so that the pixels are those of Pillow.
 */

const CONSTANT_BITS = 13;
const PASS_BITS = 2;
const fixed = (value) => Math.round(value * (1 << CONSTANT_BITS));

const F = {
  a: fixed(0.541196100), b: fixed(1.847759065), c: fixed(0.765366865), d: fixed(1.175875602), e: fixed(0.298631336),
  f: fixed(2.053119869), g: fixed(3.072711026), h: fixed(1.501321110), i: fixed(0.899976223), j: fixed(2.562915447),
  k: fixed(1.961570560), l: fixed(0.390180644),
};
const R = {
  a: fixed(0.211164243), b: fixed(1.451774981), c: fixed(2.172734803), d: fixed(1.061594337), e: fixed(0.509795579),
  f: fixed(0.601344887), g: fixed(0.720959822), h: fixed(0.850430095), i: fixed(1.272758580), j: fixed(3.624509785),
};

const work = new Int32Array(64);

function level(value) {
  return value < -128 ? 0 : value > 127 ? 255 : value + 128;
}

/** Transform one line of eight in place: of `work`, from `at`, in steps; rounded away by `shift` bits. */
function line8(at, step, shift) {
  const round = 1 << (shift - 1);
  const [s0, s1, s2, s3] = [work[at], work[at + step], work[at + 2 * step], work[at + 3 * step]];
  const [s4, s5, s6, s7] = [work[at + 4 * step], work[at + 5 * step], work[at + 6 * step], work[at + 7 * step]];
  const z1 = (s2 + s6) * F.a;
  const t2 = z1 - s6 * F.b;
  const t3 = z1 + s2 * F.c;
  const t0 = (s0 + s4) << CONSTANT_BITS;
  const t1 = (s0 - s4) << CONSTANT_BITS;
  const [t10, t13, t11, t12] = [t0 + t3, t0 - t3, t1 + t2, t1 - t2];
  const z5 = (s7 + s3 + s5 + s1) * F.d;
  const a1 = -(s7 + s1) * F.i;
  const a2 = -(s5 + s3) * F.j;
  const a3 = z5 - (s7 + s3) * F.k;
  const a4 = z5 - (s5 + s1) * F.l;
  const u0 = s7 * F.e + a1 + a3;
  const u1 = s5 * F.f + a2 + a4;
  const u2 = s3 * F.g + a2 + a3;
  const u3 = s1 * F.h + a1 + a4;
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
  const t2 = work[at + 2 * step] * F.b - work[at + 6 * step] * F.c;
  const [s7, s5, s3, s1] = [work[at + 7 * step], work[at + 5 * step], work[at + 3 * step], work[at + step]];
  const u0 = -s7 * R.a + s5 * R.b - s3 * R.c + s1 * R.d;
  const u2 = -s7 * R.e - s5 * R.f + s3 * F.i + s1 * F.j;
  work[at] = (t0 + t2 + u2 + round) >> shift;
  work[at + 3 * step] = (t0 + t2 - u2 + round) >> shift;
  work[at + step] = (t0 - t2 + u0 + round) >> shift;
  work[at + 2 * step] = (t0 - t2 - u0 + round) >> shift;
}

function line2(at, step, shift) {
  const round = 1 << (shift - 1);
  const t10 = work[at] << (CONSTANT_BITS + 2);
  const t0 = -work[at + 7 * step] * R.g + work[at + 5 * step] * R.h - work[at + 3 * step] * R.i + work[at + step] * R.j;
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
