/** Orientation of a picture, from its Exif block or its XMP packet, and its undoing. */

const ORIENTATION = 0x0112;
const SHORT = 3;
const XMP = /tiff:Orientation(="|>)([0-9])/;

/**
 * Read the orientation as Pillow does: that of Exif, or else that of XMP, or else 1, which is upright.
 * @param {?Uint8Array} exif Exif block, a TIFF file.
 * @param {string} xmp XMP packet, or "".
 */
export function orientation(exif, xmp) {
  const found = exif ? fromExif(exif) : 0;
  if (found) return found;
  const text = XMP.exec(xmp);
  return text ? Number(text[2]) : 1;
}

function fromExif(exif) {
  const start = exif.length > 6 && exif[0] === 0x45 && exif[1] === 0x78 ? 6 : 0;
  const view = new DataView(exif.buffer, exif.byteOffset + start, exif.byteLength - start);
  try {
    const isLittle = view.getUint16(0) === 0x4949;
    const directory = view.getUint32(4, isLittle);
    const entries = view.getUint16(directory, isLittle);
    for (let i = 0; i < entries; i++) {
      const at = directory + 2 + 12 * i;
      if (view.getUint16(at, isLittle) !== ORIENTATION) continue;
      const isShort = view.getUint16(at + 2, isLittle) === SHORT;
      return isShort ? view.getUint16(at + 8, isLittle) : view.getUint32(at + 8, isLittle);
    }
  } catch {
    // An invalid block says nothing, as in viewers.
  }
  return 0;
}

/** Return whether an orientation exchanges rows and columns. */
export function exchangesSides(code) {
  return code >= 5 && code <= 8;
}

/**
 * Turn and mirror an image so that it is upright.
 * @param {{pixels: Uint8Array, width: number, height: number}} image
 * @param {number} code Orientation, 1 to 8.
 */
export function upright(image, code) {
  if (code < 2 || code > 8) return image;
  const { pixels, width, height } = image;
  const isTurned = exchangesSides(code);
  const [across, down] = isTurned ? [height, width] : [width, height];
  const result = new Uint8Array(pixels.length);
  const mirrorsX = code === 2 || code === 3 || code === 7 || code === 8;
  const mirrorsY = code === 3 || code === 4 || code === 6 || code === 7;
  for (let y = 0; y < down; y++) {
    for (let x = 0; x < across; x++) {
      // Place in the stored image.
      let [column, row] = isTurned ? [y, x] : [x, y];
      if (mirrorsX) column = width - 1 - column;
      if (mirrorsY) row = height - 1 - row;
      result[y * across + x] = pixels[row * width + column];
    }
  }
  return { pixels: result, width: across, height: down };
}
