import type { Http2Stream } from "./http2-stream.ts";

const SLOTS = 256;

/** The open streams of a connection, by number. A Map would do, but one whose entries come and go by the thousand a second keeps them alive
 *  until a full garbage collection (its discarded tables are chained). Stream numbers rise by two, so that streams open at the same time
 *  nearly always have slots of their own; one that lives long and is in another's way is found in the overflow. */
export class StreamTable<User> {
  readonly #slots: (Http2Stream<User> | undefined)[] = Array.from({ length: SLOTS }, () => undefined);
  #overflow: Http2Stream<User>[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): Http2Stream<User> | undefined {
    const found = this.#slots[(id >>> 1) % SLOTS];
    if (found !== undefined && found.id === id) return found;
    return this.#overflow.length === 0 ? undefined : this.#overflow.find((stream) => stream.id === id);
  }

  add(stream: Http2Stream<User>): void {
    const slot = (stream.id >>> 1) % SLOTS;
    if (this.#slots[slot] === undefined) this.#slots[slot] = stream;
    else this.#overflow.push(stream);
    this.#size++;
  }

  /** Removes a stream that is in the table. */
  delete(stream: Http2Stream<User>): void {
    const slot = (stream.id >>> 1) % SLOTS;
    if (this.#slots[slot] === stream) this.#slots[slot] = undefined;
    else this.#overflow = this.#overflow.filter((other) => other !== stream);
    this.#size--;
  }

  /** The streams now, in no order; changes meanwhile don't matter. */
  list(): Http2Stream<User>[] {
    const all = this.#overflow.slice();
    if (this.#size === 0) return all;
    for (const stream of this.#slots) if (stream !== undefined) all.push(stream);
    return all;
  }
}
