/** Pieces up to this length are put together, bytes. */
const JOINED_BYTES = 16 * 1024;

/** Body bytes of a stream whose reader rests, in the order they came. Small pieces are put together, since one that is kept by itself costs many
 *  times its length: a peer chooses how small they are. Memory is at most twice the bytes, and a little. */
export class HeldBytes {
  readonly #pieces: Buffer[] = [];
  /** Bytes free behind the last piece, in memory of its own. */
  #room = 0;

  get isEmpty(): boolean {
    return this.#pieces.length === 0;
  }

  /** Number of pieces that `shift` will give. */
  get pieces(): number {
    return this.#pieces.length;
  }

  /** Keeps a copy. */
  push(chunk: Uint8Array): void {
    const pieces = this.#pieces;
    const lastAt = pieces.length - 1;
    const last = pieces[lastAt];
    const joined = last === undefined ? Number.POSITIVE_INFINITY : last.length + chunk.length;
    if (last === undefined || joined > JOINED_BYTES) {
      pieces.push(Buffer.from(chunk));
      this.#room = 0;
      return;
    }
    let whole: Buffer;
    if (chunk.length <= this.#room) {
      this.#room -= chunk.length;
      whole = Buffer.from(last.buffer, last.byteOffset, joined);
    } else {
      const memory = Buffer.allocUnsafeSlow(Math.min(2 * joined, JOINED_BYTES));
      memory.set(last);
      this.#room = memory.length - joined;
      whole = memory.subarray(0, joined);
    }
    whole.set(chunk, last.length);
    pieces[lastAt] = whole;
  }

  /** The oldest piece; undefined if none is left. */
  shift(): Uint8Array | undefined {
    if (this.#pieces.length === 1) this.#room = 0;
    return this.#pieces.shift();
  }
}
