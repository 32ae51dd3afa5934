import { HTAB } from "./byte-classes.ts";

const INITIAL_BYTES = 16 * 1024;
/** A scratch that grew beyond this (one large body) is left to the garbage collector. */
const KEPT_SCRATCH_BYTES = 128 * 1024;
const KEPT_SCRATCHES = 32;
const NOTHING = Buffer.alloc(0);

/** 1 for a control character other than HTAB. */
const IS_CONTROL = new Uint8Array(256).fill(1, 0, 32);
IS_CONTROL[HTAB] = 0;
IS_CONTROL[127] = 1;

/** Scratches that no output buffer holds now. An empty buffer holds none, so thousands of idle connections cost nothing and the
 *  busy ones of a turn share a few that stay in the processor's cache. */
const spare: Buffer[] = [];

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
    if (scratch !== NOTHING) recycle(scratch);
  }

  #controls(from: number, to: number): number {
    const bytes = this.#scratch;
    let controls = 0;
    for (let at = from; at < to; at++) controls += IS_CONTROL[bytes[at] as number] as number;
    return controls;
  }

  #grow(needed: number): void {
    const old = this.#scratch;
    if (old === NOTHING) {
      const reused = spare.pop();
      if (reused !== undefined && reused.length >= needed) {
        this.#scratch = reused;
        return;
      }
    }
    let size = INITIAL_BYTES;
    while (size < needed) size *= 2;
    const grown = Buffer.allocUnsafeSlow(size);
    old.copy(grown, 0, 0, this.#length);
    this.#scratch = grown;
  }
}

/** Takes back what `detach` gave out. */
export function recycle(detached: Buffer): void {
  const { buffer } = detached;
  if (buffer.byteLength <= KEPT_SCRATCH_BYTES && spare.length < KEPT_SCRATCHES) spare.push(Buffer.from(buffer));
}
