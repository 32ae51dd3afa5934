import { asciiRun, putRun, putSixDigits } from "./record-bytes.ts";

let cachedSecond = Number.NaN;
let cachedRun = asciiRun("");

/** Begins a record with its time, UTC with microseconds: `{"time":"2030-01-01T00:00:00.000000` (RFC 3339); `Z"` is the caller's to write.
 *  `us` is microseconds since the epoch; what no Date can be is written as the epoch, since a record must not be lost by it. The bytes
 *  of a second are kept, since thousands of records share it. */
export function putTime(bytes: Buffer, at: number, us: number): number {
  const second = Math.floor(us / 1_000_000);
  if (second !== cachedSecond) {
    const date = new Date(second * 1000);
    if (Number.isNaN(date.getTime())) return putTime(bytes, at, 0);
    cachedRun = asciiRun(`{"time":"${date.toISOString().slice(0, -4)}`);
    cachedSecond = second;
  }
  return putSixDigits(bytes, putRun(bytes, at, cachedRun), us - second * 1_000_000);
}

/** UTC with milliseconds, from milliseconds since the epoch; undefined for what no Date can be. */
export function formatTimeMs(ms: number): string | undefined {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}
