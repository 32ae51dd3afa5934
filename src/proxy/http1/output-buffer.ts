import { HTAB } from "./byte-classes.ts";

/** A turn's heads fit into this. */
const SMALL_BYTES = 16 * 1024;
/** What a connection may have waiting before its source is held back fits into this. A larger one (one large body) is left to the garbage
 *  collector. */
const LARGE_BYTES = 128 * 1024;
const KEPT_SMALL = 32;
const KEPT_LARGE = 16;
const NOTHING = Buffer.alloc(0);

/** 1 for a control character other than HTAB. */
const IS_CONTROL = new Uint8Array(256).fill(1, 0, 32);
IS_CONTROL[HTAB] = 0;
IS_CONTROL[127] = 1;

/** Scratches that no output buffer holds now. An empty buffer holds none, so thousands of idle connections cost nothing and the
 *  busy ones of a turn share a few that stay in the processor's cache. */
const spareSmall: Buffer[] = [];
const spareLarge: Buffer[] = [];

/** Bytes waiting to be written to one connection: filled by many small appends, taken once per event-loop turn.
 *  Grows without bound by itself: its owner watches `length` and stops the source. */
export class OutputBuffer {
  #scratch: Buffer = NOTHING;
  #length = 0;
  #generation = 0;

  /** Bytes waiting. */
  get length(): number {
    return this.#length;
  }

  /** Appends text one byte a character. A character above U+00FF loses its high byte, and so may become a line end: the caller
   *  has checked the text (see write-head.ts) or got it from a decoder. */
  latin1(text: string): void {
    const at = this.#length;
    const size = text.length;
    if (at + size > this.#scratch.length) this.#grow(at + size);
    this.#scratch.write(text, at, size, "latin1");
    this.#length = at + size;
  }

  /** Appends text that consists of exactly `count` lines, each ended by CR LF, not counting those of text[checkedFrom … checkedTo): whole
   *  lines as a decoder has found them. Throws TypeError, with nothing appended, if the bytes that would leave outside of these hold any
   *  other control character but HTAB: whatever mistake let one into a name or value, it can't become a header or a message of its own. */
  lines(text: string, count: number, checkedFrom = 0, checkedTo = 0): void {
    const start = this.#length;
    this.latin1(text);
    const controls = this.#controls(start, start + checkedFrom) + this.#controls(start + checkedTo, this.#length);
    if (controls === 2 * count) return;
    this.#length = start;
    throw new TypeError("a name or value to be written holds a line end or another control character");
  }

  /** Copies `chunk`, which stays the caller's. */
  bytes(chunk: Uint8Array): void {
    const at = this.#length;
    const size = chunk.length;
    if (at + size > this.#scratch.length) this.#grow(at + size);
    this.#scratch.set(chunk, at);
    this.#length = at + size;
  }

  /** How often what waited was taken away: an offset into what waits is good for as long as this stays. */
  get generation(): number {
    return this.#generation;
  }

  /** Appends one byte. */
  byte(value: number): void {
    const at = this.#length;
    if (at + 1 > this.#scratch.length) this.#grow(at + 1);
    this.#scratch[at] = value;
    this.#length = at + 1;
  }

  /** Makes room for `size` bytes and returns the buffer that they are to be written to, from offset `length` on; `advance` then tells how many
   *  they were. The buffer is good until the next call of another method. */
  room(size: number): Buffer {
    const needed = this.#length + size;
    if (needed > this.#scratch.length) this.#grow(needed);
    return this.#scratch;
  }

  /** Appends `size` bytes that were written to the buffer that `room` gave out. */
  advance(size: number): void {
    this.#length += size;
  }

  /** Appends an unsigned 32-bit number, most significant byte first. */
  uint32(value: number): void {
    const at = this.#length;
    if (at + 4 > this.#scratch.length) this.#grow(at + 4);
    const bytes = this.#scratch;
    bytes[at] = value >>> 24;
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
    this.#length = at + 4;
  }

  /** Writes a 24-bit number over three bytes that wait at `at`. */
  patchUint24(at: number, value: number): void {
    const bytes = this.#scratch;
    bytes[at] = value >>> 16;
    bytes[at + 1] = value >>> 8;
    bytes[at + 2] = value;
  }

  /** Sets bits of a byte that waits at `at`. */
  patchBits(at: number, bits: number): void {
    this.#scratch[at] = (this.#scratch[at] as number) | bits;
  }

  /** A copy of what waits from `from` on. */
  copyFrom(from: number): Buffer {
    return Buffer.from(this.#scratch.subarray(from, this.#length));
  }

  /** Takes back what was appended behind `length`. */
  truncate(length: number): void {
    if (length < this.#length) this.#length = length;
  }

  /** Everything appended since the last take, in a right-sized copy that belongs to the caller. Handing out a fresh large
   *  buffer a write would cost more in garbage collection than this copy. */
  take(): Buffer {
    const length = this.#length;
    if (length === 0) return NOTHING;
    const taken = Buffer.allocUnsafe(length);
    this.#scratch.copy(taken, 0, 0, length);
    this.reset();
    return taken;
  }

  /** Everything appended since the last take, without a copy: for much at once. The caller gives the buffer that lies
   *  under it back with `recycle` once it is written. */
  detach(): Buffer {
    const detached = this.#scratch.subarray(0, this.#length);
    this.#length = 0;
    this.#generation++;
    this.#scratch = NOTHING;
    return detached;
  }

  /** Drops what waits. */
  reset(): void {
    const scratch = this.#scratch;
    this.#length = 0;
    this.#generation++;
    this.#scratch = NOTHING;
    if (scratch !== NOTHING) keepScratch(scratch);
  }

  #controls(from: number, to: number): number {
    const bytes = this.#scratch;
    let controls = 0;
    for (let at = from; at < to; at++) controls += IS_CONTROL[bytes[at] as number] as number;
    return controls;
  }

  #grow(needed: number): void {
    const old = this.#scratch;
    const grown = scratchFor(needed);
    old.copy(grown, 0, 0, this.#length);
    this.#scratch = grown;
    if (old !== NOTHING) keepScratch(old);
  }
}

/** Two sizes only: one that is not kept for the next turn costs the garbage collector a collection of everything sooner. */
function scratchFor(needed: number): Buffer {
  if (needed <= SMALL_BYTES) return spareSmall.pop() ?? Buffer.allocUnsafeSlow(SMALL_BYTES);
  if (needed <= LARGE_BYTES) return spareLarge.pop() ?? Buffer.allocUnsafeSlow(LARGE_BYTES);
  let size = 2 * LARGE_BYTES;
  while (size < needed) size *= 2;
  return Buffer.allocUnsafeSlow(size);
}

function keepScratch(scratch: Buffer): void {
  if (scratch.length === SMALL_BYTES) {
    if (spareSmall.length < KEPT_SMALL) spareSmall.push(scratch);
  } else if (scratch.length === LARGE_BYTES && spareLarge.length < KEPT_LARGE) spareLarge.push(scratch);
}

/** Takes back what `detach` gave out. */
export function recycle(detached: Buffer): void {
  keepScratch(Buffer.from(detached.buffer));
}
