/** Numbers side by side: copied as memory when they grow, and of no interest to the garbage collector. */
export interface GrowingWords {
  readonly length: number;
  at(place: number): number;
  set(place: number, value: number): void;
  /** Returns the place of the first. Throws RangeError beyond a gigabyte. */
  add(...values: readonly number[]): number;
  /** All of them, in memory that threads can share. */
  take(): Int32Array;
}

/** Places must fit into a trie's values beside two bits. */
const MAX_WORDS = 2 ** 28;

export function growingWords(): GrowingWords {
  let words = new Int32Array(256);
  let length = 0;
  return {
    get length() {
      return length;
    },
    at: (place) => words[place] ?? 0,
    set(place, value) {
      words[place] = value;
    },
    add(...values) {
      const first = length;
      if (length + values.length > MAX_WORDS) throw new RangeError("the policies take too much memory");
      if (length + values.length > words.length) {
        const larger = new Int32Array(2 * Math.max(words.length, values.length));
        larger.set(words);
        words = larger;
      }
      for (const value of values) words[length++] = value;
      return first;
    },
    take() {
      const taken = new Int32Array(new SharedArrayBuffer(length * Int32Array.BYTES_PER_ELEMENT));
      taken.set(words.subarray(0, length));
      return taken;
    },
  };
}
