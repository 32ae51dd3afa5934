import type { OutputBuffer } from "../http1/output-buffer.ts";
import { copyOf } from "./hpack-encoder-table.ts";

const RUNS = 16;
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

  /** The bytes of the run `key` if they were encoded under this version of the table. */
  find(key: string, version: number): Uint8Array | undefined {
    const runs = this.#runs;
    if (runs === undefined) return undefined;
    const run = runs[placeOf(key)];
    if (run === undefined || run.version !== version || run.key !== key) {
      this.#misses++;
      return undefined;
    }
    this.#misses = 0;
    return run.bytes;
  }

  /** Keeps what was appended to `out` from `start` on. */
  keep(key: string, version: number, out: OutputBuffer, start: number): void {
    if (key === "" || key.length > MAX_KEY) return;
    if (this.#misses > PATIENCE && this.#misses % SAMPLE !== 0) return;
    this.#runs ??= Array.from({ length: RUNS }, () => undefined);
    const bytes = new Uint8Array(out.length - start);
    bytes.set(out.copyFrom(start));
    this.#runs[placeOf(key)] = { key: copyOf(key), version, bytes };
  }
}

/** By length and a few characters: runs of one place drive each other out. */
function placeOf(key: string): number {
  const { length } = key;
  return (length * 7 + key.charCodeAt(length >> 1) + key.charCodeAt(length >> 2) * 3) & (RUNS - 1);
}
