/**
 * Bits of the entropy-coded segments of a JPEG file. Behaves at markers and at faults as libjpeg does: what is missing
 * before a marker reads as zeros, until the next restart.
 */
import { truncated } from "../errors.js";

export class BitReader {
  /**
   * @param {object} rules Contract with the program.
   * @param {Uint8Array} bytes Content of the file.
   * @param {number} at Offset of the first byte.
   */
  constructor(rules, bytes, at) {
    this.rules = rules;
    this.bytes = bytes;
    this.at = at;
    this.buffer = 0;
    this.count = 0;
    /** Code of the marker that ended the data; 0 if none has been met. */
    this.marker = 0;
    /** Whether zeros have been read in place of data that is missing. */
    this.starved = false;
    this.nextRestart = 0;
  }

  /** Make sure that `wanted` bits are there, at most 16. */
  fill(wanted) {
    while (this.count <= 16 && !this.marker) {
      const byte = this.byte();
      if (this.marker) break;
      this.buffer = ((this.buffer << 8) | byte) & 0xffffff;
      this.count += 8;
    }
    if (this.count < wanted) {
      this.starved = true;
      this.buffer = (this.buffer << (24 - this.count)) & 0xffffff;
      this.count = 24;
    }
  }

  byte() {
    if (this.at >= this.bytes.length) throw truncated(this.rules, "JPEG");
    const byte = this.bytes[this.at++];
    if (byte !== 0xff) return byte;
    let code = 0xff;
    while (code === 0xff) {
      if (this.at >= this.bytes.length) throw truncated(this.rules, "JPEG");
      code = this.bytes[this.at++];
    }
    if (code === 0) return 0xff;
    this.marker = code;
    return 0;
  }

  bit() {
    return this.bits(1);
  }

  /** Read up to 16 bits. */
  bits(wanted) {
    if (wanted === 0) return 0;
    if (this.count < wanted) this.fill(wanted);
    this.count -= wanted;
    return (this.buffer >> this.count) & ((1 << wanted) - 1);
  }

  /** Read a Huffman code; one that does not exist counts as 0. */
  symbol(table) {
    if (this.count < 16) this.fill(0);
    const missing = 16 - this.count;
    const ahead = missing > 0 ? (this.buffer << missing) & 0xffff : (this.buffer >> -missing) & 0xffff;
    const found = table[ahead];
    const length = found >> 8 || 16;
    if (length > this.count) {
      this.fill(length);
      return this.symbolFilled(table);
    }
    this.count -= length;
    return found & 0xff;
  }

  symbolFilled(table) {
    const found = table[(this.buffer >> (this.count - 16)) & 0xffff];
    this.count -= found >> 8 || 16;
    return found & 0xff;
  }

  /** Read a number of some bits whose first bit tells its sign (T.81, F.2.2.1). */
  signed(size) {
    if (size === 0) return 0;
    const value = this.bits(size);
    return value < 1 << (size - 1) ? value - (1 << size) + 1 : value;
  }

  /** Go to the next restart marker, and resume as libjpeg's `jpeg_resync_to_restart` decides. */
  restart() {
    this.count = 0;
    if (!this.marker) this.findMarker();
    const desired = this.nextRestart;
    for (;;) {
      const number = this.marker - 0xd0;
      if (number === desired) {
        this.marker = 0;
        break;
      }
      const isRestart = number >= 0 && number < 8;
      const ahead = (number - desired) & 7;
      if (this.marker >= 0xc0 && (!isRestart || ahead === 1 || ahead === 2)) break;
      if (isRestart && ahead !== 6 && ahead !== 7) {
        this.marker = 0;
        break;
      }
      this.findMarker();
    }
    this.nextRestart = (desired + 1) & 7;
    if (!this.marker) this.starved = false;
  }

  findMarker() {
    this.marker = 0;
    while (!this.marker) this.byte();
  }
}
