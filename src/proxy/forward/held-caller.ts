import type { Transport, TransportOwner } from "../transport.ts";

/** What a caller may say before somebody reads it; beyond it its connection rests. */
const MOST_BYTES = 64 * 1024;

/** A tunnel's caller while the tunnel is decided on and dialled: what it says is kept, and that it leaves is heard. */
export class HeldCaller implements TransportOwner {
  readonly #transport: Transport;
  readonly #onLeft: () => void;
  #chunks: Uint8Array[] = [];
  #length = 0;

  constructor(transport: Transport, onLeft: () => void) {
    this.#transport = transport;
    this.#onLeft = onLeft;
  }

  /** Begins, with bytes that were read already, in a buffer of their own. */
  hold(read: Uint8Array | undefined): void {
    this.#transport.owner = this;
    if (read !== undefined) this.#keep(read);
    if (this.#length < MOST_BYTES) this.#transport.resume();
  }

  /** Ends it, with all that has come. The transport is paused, its owner to be set. */
  take(): Uint8Array {
    this.#transport.pause();
    const [first, ...more] = this.#chunks;
    const all = first !== undefined && more.length === 0 ? first : Buffer.concat(this.#chunks);
    this.#chunks = [];
    this.#length = 0;
    return all;
  }

  #keep(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    if (this.#length >= MOST_BYTES) this.#transport.pause();
  }

  onBytes(chunk: Buffer): void {
    this.#keep(Uint8Array.from(chunk));
  }

  onFin(): void {
    this.#onLeft();
  }

  onWritable(): void {
    // nothing is written to it meanwhile
  }

  onGone(): void {
    this.#onLeft();
  }
}
