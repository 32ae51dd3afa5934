import { RECORD_BYTES_MAX } from "./record-limits.ts";

const FIRST_BYTES = 256 * 1024;
const KEPT_BYTES_MAX = 4 * 1024 * 1024;

/** Serialised records on their way to where they are written, one after another. */
export interface RecordBuffer {
  bytes: Buffer;
  /** So many of them are records. */
  length: number;
}

/** An empty one, in `spare` where there is one. */
export function newRecordBuffer(spare?: Buffer): RecordBuffer {
  return { bytes: spare ?? Buffer.allocUnsafeSlow(FIRST_BYTES), length: 0 };
}

/** Whether bytes that nobody needs any more should be kept for later records: a burst's are not. */
export function isWorthKeeping(bytes: Buffer): boolean {
  return bytes.length <= KEPT_BYTES_MAX;
}

/** The buffer's bytes, with room behind `length` for `size` more. */
export function roomIn(buffer: RecordBuffer, size: number = RECORD_BYTES_MAX): Buffer {
  const needed = buffer.length + size;
  if (needed > buffer.bytes.length) {
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, buffer.bytes.length * 2));
    buffer.bytes.copy(grown, 0, 0, buffer.length);
    buffer.bytes = grown;
  }
  return buffer.bytes;
}
