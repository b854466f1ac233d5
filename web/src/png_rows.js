/**
 * Rows of PNG files: filters, passes of the interlaced order, samples of 1 to 16 bits.
 */

/** Offset and distance of the pixels of each pass of Adam7: [left, top, across, down]. */
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

/**
 * Unpack the rows of a picture.
 * @param {{width: number, height: number, samples: number, depth: number, interlaced: boolean}} layout
 * @param {(size: number) => Promise<Uint8Array>} inflate Function that returns the filtered rows.
 * @returns {Promise<Uint8Array | Uint16Array>} Samples of all pixels, as stored.
 */
export async function unpack(layout, inflate) {
  const { width, height, samples, depth, interlaced } = layout;
  const passes = (interlaced ? ADAM7 : [[0, 0, 1, 1]])
    .map(([left, top, across, down]) => ({
      left,
      top,
      across,
      down,
      wide: Math.max(0, Math.ceil((width - left) / across)),
      high: Math.max(0, Math.ceil((height - top) / down)),
    }))
    .filter(({ wide, high }) => wide && high);
  const bytesOf = (wide) => Math.ceil((wide * samples * depth) / 8);
  const size = passes.reduce((sum, { wide, high }) => sum + (1 + bytesOf(wide)) * high, 0);
  const data = await inflate(size);
  const values =
    depth === 16 ? new Uint16Array(width * height * samples) : new Uint8Array(width * height * samples);
  let at = 0;
  for (const pass of passes) {
    const length = bytesOf(pass.wide);
    let above = new Uint8Array(length);
    for (let y = 0; y < pass.high; y++) {
      const row = data.subarray(at + 1, at + 1 + length);
      unfilter(data[at], row, above, Math.max(1, (samples * depth) >> 3));
      place(row, pass, y, layout, values);
      above = row;
      at += 1 + length;
    }
  }
  return values;
}

/** Undo the filter of a row in place (PNG specification, section 9). */
function unfilter(kind, row, above, step) {
  const { length } = row;
  if (kind === 1) for (let i = step; i < length; i++) row[i] += row[i - step];
  else if (kind === 2) for (let i = 0; i < length; i++) row[i] += above[i];
  else if (kind === 3) {
    for (let i = 0; i < step && i < length; i++) row[i] += above[i] >> 1;
    for (let i = step; i < length; i++) row[i] += (row[i - step] + above[i]) >> 1;
  } else if (kind === 4) {
    for (let i = 0; i < step && i < length; i++) row[i] += above[i];
    for (let i = step; i < length; i++) row[i] += paeth(row[i - step], above[i], above[i - step]);
  }
}

function paeth(left, above, corner) {
  const toLeft = Math.abs(above - corner);
  const toAbove = Math.abs(left - corner);
  const toCorner = Math.abs(left + above - 2 * corner);
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

/** Put the samples of a row into the picture. */
function place(row, { left, top, across, down, wide }, y, { width, samples, depth }, values) {
  const start = (top + y * down) * width;
  if (across === 1 && depth === 8) {
    values.set(row, start * samples);
    return;
  }
  const mask = (1 << depth) - 1;
  for (let x = 0; x < wide; x++) {
    const to = (start + left + x * across) * samples;
    for (let j = 0; j < samples; j++) {
      const i = x * samples + j;
      if (depth === 16) values[to + j] = (row[2 * i] << 8) | row[2 * i + 1];
      else if (depth === 8) values[to + j] = row[i];
      else values[to + j] = (row[(i * depth) >> 3] >> (8 - depth - ((i * depth) & 7))) & mask;
    }
  }
}
