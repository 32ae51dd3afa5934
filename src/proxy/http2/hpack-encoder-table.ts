import { FIELD_OVERHEAD } from "./hpack-field.ts";
import { FIRST_DYNAMIC } from "./hpack-static-table.ts";

const BUCKETS = 128;
const SEEN = 64;

/** An encoder's view of the table that the peer's decoder keeps: finds entries by name and value. Entries are numbered in the order
 *  they were added, from 1. */
export class EncoderTable {
  #maxBytes: number;
  #bytes = 0;
  #added = 0;
  #count = 0;
  /** Changes whenever an entry comes or goes: what was encoded before is good for as long as it stays. */
  version = 0;
  /** As many places as entries can fit, a power of two. */
  readonly #capacity: number;
  #names: string[] = [];
  #values: string[] = [];
  #hashes = new Int32Array(0);
  /** By place: the number of the entry added before to the same bucket. */
  #before = new Float64Array(0);
  /** By bucket: the number of the entry last added. */
  #latest = new Float64Array(0);
  /** Hashes of the fields that last came and had no entry. */
  #seen = new Int32Array(0);
  #seenAt = 0;

  /** `limitBytes` is the most that `resize` will ever be given. */
  constructor(limitBytes: number) {
    this.#maxBytes = limitBytes;
    let capacity = 1;
    while (capacity * FIELD_OVERHEAD < limitBytes) capacity *= 2;
    this.#capacity = capacity;
  }

  get maxBytes(): number {
    return this.#maxBytes;
  }

  /** Bytes that fit without evicting an entry. */
  get room(): number {
    return this.#maxBytes - this.#bytes;
  }

  /** Number of the entry last added. */
  get added(): number {
    return this.#added;
  }

  /** The HPACK index of entry `number`, or 0 if it is gone. */
  indexOf(number: number): number {
    const age = this.#added - number;
    return age < this.#count ? FIRST_DYNAMIC + age : 0;
  }

  /** The HPACK index of an entry with this name and value, or 0. `hash` is quickHash's. */
  find(hash: number, name: string, value: string): number {
    if (this.#count === 0) return 0;
    const oldest = this.#added - this.#count;
    const mask = this.#capacity - 1;
    let number = this.#latest[hash & (BUCKETS - 1)] as number;
    while (number > oldest) {
      const place = number & mask;
      if (this.#hashes[place] === hash && this.#values[place] === value && this.#names[place] === name) {
        return FIRST_DYNAMIC + this.#added - number;
      }
      number = this.#before[place] as number;
    }
    return 0;
  }

  /** Adds an entry, which must not be larger than the table, and evicts what no longer fits. */
  add(hash: number, name: string, value: string): void {
    if (this.#hashes.length === 0) this.#allocate();
    this.#bytes += name.length + value.length + FIELD_OVERHEAD;
    this.#evict();
    const number = ++this.#added;
    const place = number & (this.#capacity - 1);
    const bucket = hash & (BUCKETS - 1);
    this.#names[place] = copyOf(name);
    this.#values[place] = copyOf(value);
    this.#hashes[place] = hash;
    this.#before[place] = this.#latest[bucket] as number;
    this.#latest[bucket] = number;
    this.#count++;
    this.version++;
  }

  /** Whether this field came a short while ago; if not, it is remembered, by its hash alone. */
  seenBefore(name: string, value: string): boolean {
    if (this.#seen.length === 0) this.#seen = new Int32Array(SEEN);
    const hash = fullHash(name, value);
    if (this.#seen.includes(hash)) return true;
    this.#seen[this.#seenAt] = hash;
    this.#seenAt = (this.#seenAt + 1) % SEEN;
    return false;
  }

  resize(maxBytes: number): void {
    this.#maxBytes = maxBytes;
    this.#evict();
    this.version++;
  }

  #allocate(): void {
    this.#names = Array.from({ length: this.#capacity }, () => "");
    this.#values = Array.from({ length: this.#capacity }, () => "");
    this.#hashes = new Int32Array(this.#capacity);
    this.#before = new Float64Array(this.#capacity);
    this.#latest = new Float64Array(BUCKETS);
  }

  #evict(): void {
    while (this.#bytes > this.#maxBytes && this.#count > 0) {
      const place = (this.#added - this.#count + 1) & (this.#capacity - 1);
      this.#bytes -= (this.#names[place] as string).length + (this.#values[place] as string).length + FIELD_OVERHEAD;
      this.#names[place] = "";
      this.#values[place] = "";
      this.#count--;
    }
  }
}

/** Of a few characters: enough to find an entry, since what is found is compared. */
export function quickHash(name: string, value: string): number {
  const names = name.length;
  const values = value.length;
  let hash = names * 31 + name.charCodeAt(names - 1) * 7 + name.charCodeAt(names >> 1);
  if (values > 0) {
    hash = Math.imul(hash, 31) + values + value.charCodeAt(values - 1) * 61 + value.charCodeAt(values >> 1) * 131;
    hash += value.charCodeAt(0) * 17;
  }
  return hash | 0;
}

/** FNV-1a: of every character, since nothing is compared. */
function fullHash(name: string, value: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193);
  for (let at = 0; at < value.length; at++) hash = Math.imul(hash ^ value.charCodeAt(at), 0x01000193);
  return hash | 0;
}

/** A string of its own: a slice would keep the whole text of a message alive for as long as the entry lives. */
export function copyOf(text: string): string {
  return Buffer.from(text, "latin1").toString("latin1");
}
