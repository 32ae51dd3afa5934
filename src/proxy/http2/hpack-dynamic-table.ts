import { FIELD_OVERHEAD, type HeaderField } from "./hpack-field.ts";

/** Octets that a table holds until the decoder's side says otherwise (RFC 9113 section 6.5.2). */
export const DEFAULT_TABLE = 4096;

/** A decoder's dynamic table (RFC 7541 section 2.3.2): newest first, oldest evicted. */
export class DynamicTable {
  /** Bytes that its entries may have together, as the peer last set it. */
  #maxBytes: number;
  #bytes = 0;
  #count = 0;
  /** Where the newest entry lies. */
  #newest = 0;
  /** As many places as entries can fit, a power of two. Made when the first one comes: many connections never need it. */
  #ring: (HeaderField | undefined)[] = [];
  readonly #capacity: number;

  /** `maxBytes`: at the start; `limitBytes`: the most that `resize` will ever be given. */
  constructor(maxBytes: number, limitBytes: number) {
    this.#maxBytes = maxBytes;
    let capacity = 1;
    while (capacity * FIELD_OVERHEAD < limitBytes) capacity *= 2;
    this.#capacity = capacity;
  }

  get count(): number {
    return this.#count;
  }

  get maxBytes(): number {
    return this.#maxBytes;
  }

  /** The entry added `age` additions ago (0: the newest), or undefined. */
  get(age: number): HeaderField | undefined {
    return age < this.#count ? this.#ring[(this.#newest - age) & (this.#capacity - 1)] : undefined;
  }

  /** Adds an entry and evicts what no longer fits. One larger than the table empties it (section 4.4). */
  add(field: HeaderField): void {
    const { size } = field;
    if (size > this.#maxBytes) {
      this.clear();
      return;
    }
    this.#bytes += size;
    this.#evict();
    if (this.#ring.length === 0) this.#ring = Array.from({ length: this.#capacity }, () => undefined);
    this.#newest = (this.#newest + 1) & (this.#capacity - 1);
    this.#ring[this.#newest] = field;
    this.#count++;
  }

  clear(): void {
    this.#ring.fill(undefined);
    this.#count = 0;
    this.#bytes = 0;
  }

  resize(maxBytes: number): void {
    this.#maxBytes = maxBytes;
    this.#evict();
  }

  #evict(): void {
    while (this.#bytes > this.#maxBytes && this.#count > 0) {
      const oldest = (this.#newest - this.#count + 1) & (this.#capacity - 1);
      this.#bytes -= (this.#ring[oldest] as HeaderField).size;
      this.#ring[oldest] = undefined;
      this.#count--;
    }
  }
}
