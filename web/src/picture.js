/**
 * Reading of image files: content in, grey pictures out; `fracture_edge/images/image_file.py` and `pillow.py`.
 */
import { readBmp } from "./bmp.js";
import { colourShare } from "./colour.js";
import { openDicom } from "./dicom.js";
import { broken, notOnThePage, Refusal, refusal } from "./errors.js";
import { exchangesSides, orientation, upright } from "./exif.js";
import { toGrey } from "./grey.js";
import { readJpeg } from "./jpeg/decode.js";
import { maxBytes } from "./limits.js";
import { readPng } from "./png.js";
import { pixelAspect } from "./preprocess.js";
import { sniff } from "./sniff.js";
import { readWebp } from "./webp.js";

/** Refuse a file whose size alone says that it cannot be used. */
export function checkFileSize(rules, size) {
  if (size === 0) throw refusal(rules, "EMPTY", "empty");
  if (size > maxBytes(rules))
    throw refusal(rules, "TOO_LARGE", "too_large_file", { limit: maxBytes(rules) / 1e6 });
}

/**
 * Open a file.
 * @param {object} rules Contract with the program.
 * @param {Uint8Array} bytes Content of the file.
 * @param {?{width: number, height: number}} modelSize Size of the model input, at which much larger JPEG files are
 *   decoded at a reduced scale.
 * @returns {{frames: number, read: (frame: number) => Promise<object>}} Number of frames that can be read, and a
 *   function that decodes one: `{pixels, width, height, colour, aspect, pictures}`.
 */
export function openImage(rules, bytes, modelSize) {
  checkFileSize(rules, bytes.length);
  const format = sniff(rules, bytes);
  if (format === "TIFF" || format === "HEIC") throw notOnThePage(rules, format);
  try {
    if (format === "DICOM") {
      const file = openDicom(rules, bytes);
      return {
        frames: file.frames,
        read: async (frame) => ({ ...guarded(rules, format, () => file.read(frame)), pictures: 1 }),
      };
    }
  } catch (error) {
    throw asRefusal(rules, format, error);
  }
  return {
    frames: 1,
    read: async () => {
      try {
        return finish(rules, format, await decode(rules, format, bytes, modelSize));
      } catch (error) {
        throw asRefusal(rules, format, error);
      }
    },
  };
}

function guarded(rules, format, read) {
  try {
    return read();
  } catch (error) {
    throw asRefusal(rules, format, error);
  }
}

/** Any other error means that memory is short, or that the content is invalid in a way that no check foresaw. */
function asRefusal(rules, format, error) {
  if (error instanceof Refusal) return error;
  // "Array buffer allocation failed", "invalid array length" and the like; reading outside of a file is another matter.
  if (error instanceof RangeError && /alloc|array length|memory/i.test(error.message))
    return refusal(rules, "TOO_LARGE", "no_memory");
  return broken(rules, format, error?.name ?? "error");
}

function decode(rules, format, bytes, modelSize) {
  if (format === "PNG") return readPng(rules, bytes);
  if (format === "JPEG")
    return readJpeg(rules, bytes, modelSize, (_, [across, down]) => pixelAspect(rules, across, down));
  return format === "BMP" ? readBmp(rules, bytes) : readWebp(rules, bytes);
}

function finish(rules, format, found) {
  const { width, height, raster, pictures, density } = found;
  const grey = raster ? toGrey(raster) : found.grey;
  const colour = raster ? colourShare(rules, raster) : found.colour;
  const code = orientation(found.exif, found.xmp);
  // Neither of the other formats states how many pixels there are to a length.
  const aspect = format === "PNG" || format === "JPEG" ? pixelAspect(rules, density[0], density[1]) : 1;
  const image = upright({ pixels: grey, width, height }, code);
  return { ...image, colour, pictures, aspect: exchangesSides(code) ? 1 / aspect : aspect };
}
