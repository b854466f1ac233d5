/**
 * Coefficients of the blocks of a JPEG file: sequential and progressive scans with Huffman codes (T.81, F.2 and G.2).
 */
import { broken } from "../errors.js";
import { BitReader } from "./bits.js";
import { ZIGZAG } from "./header.js";

const NO_TABLE = new Uint16Array(1 << 16);

/**
 * Read the header of a scan.
 * @returns {object} Components, spectral selection, bit positions and offset of the data.
 */
export function readScan(rules, bytes, state, at) {
  const length = (bytes[at] << 8) | bytes[at + 1];
  const data = bytes.subarray(at + 2, at + length);
  const count = data[0];
  if (!state.frame || !count || count > 4 || data.length < 4 + 2 * count)
    throw broken(rules, "JPEG", "a bad scan");
  const components = Array.from({ length: count }, (_, i) => {
    const component = state.frame.components.find(({ id }) => id === data[1 + 2 * i]);
    if (!component) throw broken(rules, "JPEG", "a scan of an unknown component");
    const tables = data[2 + 2 * i];
    return {
      component,
      dc: state.huffman[0][tables >> 4] ?? NO_TABLE,
      ac: state.huffman[1][tables & 15] ?? NO_TABLE,
    };
  });
  const [first, last, positions] = data.subarray(1 + 2 * count, 4 + 2 * count);
  return { components, first, last, high: positions >> 4, low: positions & 15, at: at + length };
}

/**
 * Decode one scan into the coefficients of its components.
 * @param {(row: number) => void} finishRow Called after each row of MCUs of a scan of all components.
 * @returns {number} Offset at which to look for the next marker.
 */
export function decodeScan(rules, bytes, state, scan, finishRow) {
  const reader = new BitReader(rules, bytes, scan.at);
  const { frame } = state;
  const decodeBlock = chooseDecoder(frame, scan);
  const run = { left: 0 };
  const isInterleaved = scan.components.length > 1;
  const [only] = scan.components;
  const across = isInterleaved ? frame.mcusAcross : only.component.blocksAcross;
  const down = isInterleaved ? frame.mcusDown : only.component.blocksDown;
  for (const one of scan.components) one.prediction = 0;
  let left = state.restartInterval;
  for (let row = 0; row < down; row++) {
    for (let column = 0; column < across; column++) {
      if (state.restartInterval && left === 0) {
        reader.restart();
        for (const one of scan.components) one.prediction = 0;
        run.left = 0;
        left = state.restartInterval;
      }
      left--;
      if (reader.starved) continue;
      if (isInterleaved) {
        for (const one of scan.components) {
          const { component } = one;
          for (let y = 0; y < component.down; y++) {
            for (let x = 0; x < component.across; x++) {
              decodeBlock(
                reader,
                one,
                component.offset(row * component.down + y, column * component.across + x),
                run,
              );
            }
          }
        }
      } else decodeBlock(reader, only, only.component.offset(row, column), run);
    }
    // A component of its own has rows of blocks; a row of MCUs may have several.
    const perMcu = isInterleaved ? 1 : only.component.down;
    if ((row + 1) % perMcu === 0 || row + 1 === down) finishRow(Math.floor(row / perMcu));
  }
  if (!reader.marker) reader.findMarker();
  // The marker itself is read again.
  return reader.at - 2;
}

function chooseDecoder(frame, scan) {
  if (!frame.isProgressive) return sequential;
  if (scan.first === 0) return scan.high ? refineDc(scan) : firstDc(scan);
  return scan.high ? refineAc(scan) : firstAc(scan);
}

function sequential(reader, one, at) {
  const { coefficients } = one.component;
  one.prediction += reader.signed(reader.symbol(one.dc) & 15);
  coefficients[at] = one.prediction;
  for (let k = 1; k < 64; k++) {
    const symbol = reader.symbol(one.ac);
    const size = symbol & 15;
    if (size === 0) {
      if (symbol !== 0xf0) break;
      k += 15;
      continue;
    }
    k += symbol >> 4;
    const value = reader.signed(size);
    if (k < 64) coefficients[at + ZIGZAG[k]] = value;
  }
}

function firstDc({ low }) {
  return (reader, one, at) => {
    one.prediction += reader.signed(reader.symbol(one.dc) & 15);
    one.component.coefficients[at] = one.prediction << low;
  };
}

function refineDc({ low }) {
  return (reader, one, at) => {
    if (reader.bit()) one.component.coefficients[at] |= 1 << low;
  };
}

function firstAc({ first, last, low }) {
  return (reader, one, at, run) => {
    if (run.left > 0) {
      run.left--;
      return;
    }
    for (let k = first; k <= last; k++) {
      const symbol = reader.symbol(one.ac);
      const [zeros, size] = [symbol >> 4, symbol & 15];
      if (size) {
        k += zeros;
        const value = reader.signed(size);
        if (k < 64) one.component.coefficients[at + ZIGZAG[k]] = value << low;
      } else if (zeros === 15) k += 15;
      else {
        run.left = (1 << zeros) - 1 + reader.bits(zeros);
        break;
      }
    }
  };
}

function refineAc({ first, last, low }) {
  const bit = 1 << low;
  const refine = (reader, coefficients, at) => {
    if (reader.bit() && !(coefficients[at] & bit)) coefficients[at] += coefficients[at] >= 0 ? bit : -bit;
  };
  return (reader, one, at, run) => {
    const { coefficients } = one.component;
    let k = first;
    if (run.left === 0) {
      for (; k <= last; k++) {
        const symbol = reader.symbol(one.ac);
        let zeros = symbol >> 4;
        let value = 0;
        if (symbol & 15) value = reader.bit() ? bit : -bit;
        else if (zeros < 15) {
          run.left = (1 << zeros) + reader.bits(zeros);
          break;
        }
        for (; k <= last; k++) {
          const place = at + ZIGZAG[k];
          if (coefficients[place]) refine(reader, coefficients, place);
          else if (--zeros < 0) break;
        }
        if (value && k < 64) coefficients[at + ZIGZAG[k]] = value;
      }
    }
    if (run.left > 0) {
      for (; k <= last; k++) if (coefficients[at + ZIGZAG[k]]) refine(reader, coefficients, at + ZIGZAG[k]);
      run.left--;
    }
  };
}
