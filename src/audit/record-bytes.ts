import { quoteJson } from "../core/safe-text.ts";

/* Pieces of a record, written as ASCII into `bytes` from `at` on. Each returns where it ended. There must be room: a record takes no more
 * than RECORD_BYTES_MAX. */

const QUOTE = 0x22;
const DOT = 0x2e;
const ZERO = 0x30;
/** A text up to this length is written faster unit by unit than by a call out of JavaScript. */
const SHORT = 32;
const INT32_MAX = 0x7fff_ffff;

/** By byte: 1 where JSON text of printable ASCII holds it as it is (RFC 8259 section 7). */
const IS_PLAIN = new Uint8Array(256).fill(1, 0x20, 0x7f);
IS_PLAIN[QUOTE] = 0;
IS_PLAIN[0x5c] = 0;

/** Bytes that come in many records. `text` is ASCII. */
export function asciiRun(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "latin1"));
}

/** The same of what stands in `bytes` from `start` to `end`. It has memory of its own: of a pool, a connection that stays open would keep
 *  far more than its part. */
export function copyOf(bytes: Buffer, start: number, end: number): Uint8Array {
  const copy = new Uint8Array(end - start);
  bytes.copy(copy, 0, start, end);
  return copy;
}

export function putRun(bytes: Buffer, at: number, run: Uint8Array): number {
  bytes.set(run, at);
  return at + run.length;
}

/** The same for a run of up to some ten bytes, where a loop is faster than a call out of JavaScript. */
export function putShortRun(bytes: Buffer, at: number, run: Uint8Array): number {
  const size = run.length;
  for (let i = 0; i < size; i++) bytes[at + i] = run[i] as number;
  return at + size;
}

/** What stands in `bytes` from `start` to `end`, once more. */
export function putAgain(bytes: Buffer, at: number, start: number, end: number): number {
  let to = at;
  for (let from = start; from < end; from++) bytes[to++] = bytes[from] as number;
  return to;
}

/** ASCII that was made for this record alone. */
export function putAscii(bytes: Buffer, at: number, text: string): number {
  return at + bytes.write(text, at, text.length, "latin1");
}

/** The text as `quoteJson` gives it. */
export function putText(bytes: Buffer, at: number, text: string, max: number): number {
  const size = text.length;
  if (size > max) return putAscii(bytes, at, quoteJson(text, max));
  bytes[at] = QUOTE;
  let to = at + 1;
  if (size <= SHORT) {
    for (let i = 0; i < size; i++) {
      const unit = text.charCodeAt(i);
      if (unit < 0x20 || unit > 0x7e || unit === 0x22 || unit === 0x5c)
        return putAscii(bytes, at, quoteJson(text, max));
      bytes[to++] = unit;
    }
  } else {
    // as UTF-8, for then no unit beyond ASCII ends up as one plain byte
    const end = to + bytes.write(text, to, size, "utf8");
    while (to < end && IS_PLAIN[bytes[to] as number] === 1) to++;
    if (to !== at + 1 + size) return putAscii(bytes, at, quoteJson(text, max));
  }
  bytes[to] = QUOTE;
  return to + 1;
}

/** The number as `JSON.stringify` gives it: what is no number becomes null. */
export function putNumber(bytes: Buffer, at: number, value: number): number {
  const whole = value | 0;
  if (whole !== value || whole < 0) return putAscii(bytes, at, Number.isFinite(value) ? String(value) : "null");
  if (whole < 10) {
    bytes[at] = ZERO + whole;
    return at + 1;
  }
  let size = 2;
  for (let power = 100; power <= whole; power *= 10) size++;
  const end = at + size;
  let rest = whole;
  for (let to = end - 1; to >= at; to--) {
    const next = (rest / 10) | 0;
    bytes[to] = ZERO + (rest - next * 10);
    rest = next;
  }
  return end;
}

/** Milliseconds with up to three decimals. `ms` times 1000 must be finite. */
export function putMilliseconds(bytes: Buffer, at: number, ms: number): number {
  const us = Math.round(ms * 1000);
  if (!(us >= 0 && us <= INT32_MAX)) return putAscii(bytes, at, String(us / 1000));
  const thousandths = us | 0;
  const whole = (thousandths / 1000) | 0;
  const fraction = thousandths - whole * 1000;
  const to = putNumber(bytes, at, whole);
  if (fraction === 0) return to;
  bytes[to] = DOT;
  const end = putThreeDigits(bytes, to + 1, fraction);
  return fraction % 100 === 0 ? end - 2 : fraction % 10 === 0 ? end - 1 : end;
}

/** A number from 0 to below 1000000, its whole part as six digits. */
export function putSixDigits(bytes: Buffer, at: number, value: number): number {
  return putThreeDigits(bytes, putThreeDigits(bytes, at, (value / 1000) | 0), (value | 0) % 1000);
}

function putThreeDigits(bytes: Buffer, at: number, value: number): number {
  const tens = (value / 10) | 0;
  const hundreds = (value / 100) | 0;
  bytes[at] = ZERO + hundreds;
  bytes[at + 1] = ZERO + (tens - hundreds * 10);
  bytes[at + 2] = ZERO + (value - tens * 10);
  return at + 3;
}
