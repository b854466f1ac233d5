/**
 * Rows of a component at the size of the image: libjpeg's triangle filter where a component has half the samples
 * ("fancy upsampling", jdsample.c), otherwise repeated samples.
 */

/**
 * Return one row of a component at the size of the image.
 * @param {object} component Component with `plane`, `stride`, its real `wide` and `high`, and how many pixels of the
 *   image a sample stands for: `timesAcross`, `timesDown`.
 * @param {number} y Row of the image.
 * @param {number} width Width of the image.
 * @param {boolean} isSmooth Whether the filter is used.
 * @param {Uint8Array} result Place for the row.
 * @returns {Uint8Array}
 */
export function upsampledRow(component, y, width, isSmooth, result) {
  const { plane, stride, wide, high, timesAcross, timesDown } = component;
  const near = Math.floor(y / timesDown) * stride;
  if (timesAcross === 1 && timesDown === 1) return plane.subarray(near, near + width);
  const isHalf = isSmooth && timesDown <= 2 && timesAcross <= 2 && (timesAcross === 1 || wide > 2);
  if (!isHalf) {
    for (let x = 0; x < width; x++) result[x] = plane[near + Math.floor(x / timesAcross)];
    return result;
  }
  if (timesDown === 1) return halfAcross(plane, near, wide, width, result);
  const isUpper = y % 2 === 0;
  const other = Math.floor(y / 2) + (isUpper ? -1 : 1);
  const next = Math.min(high - 1, Math.max(0, other)) * stride;
  if (timesAcross === 1) {
    for (let x = 0; x < width; x++) result[x] = (plane[near + x] * 3 + plane[next + x] + (isUpper ? 1 : 2)) >> 2;
    return result;
  }
  const sum = (x) => plane[near + x] * 3 + plane[next + x];
  for (let x = 0; x < width; x++) {
    const [at, isRight] = [x >> 1, x & 1];
    const neighbour = at + (isRight ? 1 : -1);
    const outer = neighbour < 0 || neighbour >= wide ? sum(at) : sum(neighbour);
    result[x] = (sum(at) * 3 + outer + (isRight ? 7 : 8)) >> 4;
  }
  return result;
}

function halfAcross(plane, near, wide, width, result) {
  for (let x = 0; x < width; x++) {
    const [at, isRight] = [x >> 1, x & 1];
    const neighbour = at + (isRight ? 1 : -1);
    const value = plane[near + at];
    if (neighbour < 0 || neighbour >= wide) result[x] = value;
    else result[x] = (value * 3 + plane[near + neighbour] + (isRight ? 2 : 1)) >> 2;
  }
  return result;
}
