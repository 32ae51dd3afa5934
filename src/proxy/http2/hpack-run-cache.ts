import type { OutputBuffer } from "../http1/output-buffer.ts";
import { copyOf } from "./hpack-encoder-table.ts";

const RUNS = 32;
/** So many runs share a place, else two of every message that happen to meet there would drive each other out for ever. */
const WAYS = 2;
const MAX_KEY = 2048;
/** After so many runs in a row that nobody had sent before, only one in SAMPLE is still kept: their texts change with each message. */
const PATIENCE = 16;
const SAMPLE = 32;

interface Run {
  readonly key: string;
  readonly version: number;
  readonly bytes: Uint8Array;
}

/** The encoded bytes of the last few runs of fields of one connection. */
export class RunCache {
  #runs: (Run | undefined)[] | undefined = undefined;
  #misses = 0;
  #next = 1;

  /** The bytes of the run `key` if they were encoded under this version of the table. */
  find(key: string, version: number): Uint8Array | undefined {
    const runs = this.#runs;
    if (runs === undefined) return undefined;
    const place = placeOf(key);
    for (let way = 0; way < WAYS; way++) {
      const run = runs[place + way];
      if (run === undefined || run.version !== version || run.key !== key) continue;
      this.#misses = 0;
      return run.bytes;
    }
    this.#misses++;
    return undefined;
  }

  /** Keeps what was appended to `out` from `start` on. */
  keep(key: string, version: number, out: OutputBuffer, start: number): void {
    if (key === "" || key.length > MAX_KEY) return;
    if (this.#misses > PATIENCE && this.#misses % SAMPLE !== 0) return;
    this.#runs ??= Array.from({ length: RUNS }, () => undefined);
    const bytes = new Uint8Array(out.length - start);
    bytes.set(out.copyFrom(start));
    const place = placeOf(key);
    const second = this.#runs[place]?.version === version ? this.#next++ % WAYS : 0;
    this.#runs[place + second] = { key: copyOf(key), version, bytes };
  }
}

/** By length and a few characters: the first place of those that its run may have. */
function placeOf(key: string): number {
  const { length } = key;
  let hash = length * 31 + key.charCodeAt(length >> 1);
  hash = Math.imul(hash, 31) + key.charCodeAt(length >> 2);
  hash = Math.imul(hash, 31) + key.charCodeAt(length - (length >> 2) - 1);
  return ((hash ^ (hash >>> 7)) & (RUNS / WAYS - 1)) * WAYS;
}
