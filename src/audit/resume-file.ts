import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { RECORD_BYTES_MAX } from "./record-limits.ts";

/** Where an existing audit file ends. */
export interface ResumePoint {
  /** Sequence number of the last record, 0 if there is none. */
  readonly lastSeq: number;
  /** Bytes of a last line that a crash cut off, 0 if the file ends cleanly. */
  readonly tornBytes: number;
}

/** Reads the end of an audit file, and of the newest rotated one when the file is new, so that numbering goes on.
 *  A file that cannot be read counts as empty: whether it can be written is the sink's question. Blocks; for the start only. */
export function readResumePoint(path: string): ResumePoint {
  const { lastSeq, tornBytes } = readEnd(path);
  return { lastSeq: lastSeq > 0 ? lastSeq : readEnd(`${path}.1`).lastSeq, tornBytes };
}

function readEnd(path: string): ResumePoint {
  const text = lastBytes(path);
  const end = text.lastIndexOf("\n") + 1;
  const torn = text.slice(end);
  // A whole record that lacks only its line feed counts, and is merely ended by whoever appends next.
  const tornSeq = seqOf(torn);
  const tornBytes = tornSeq > 0 ? 0 : torn.length;
  if (tornSeq > 0) return { lastSeq: tornSeq, tornBytes };
  const lines = text.slice(0, end).split("\n");
  for (let i = lines.length - 1; i >= 0; i--) {
    const seq = seqOf(lines[i] ?? "");
    if (seq > 0) return { lastSeq: seq, tornBytes };
  }
  return { lastSeq: 0, tornBytes };
}

function lastBytes(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return "";
  }
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) return "";
    const from = Math.max(0, stats.size - 2 * RECORD_BYTES_MAX);
    const bytes = Buffer.alloc(stats.size - from);
    const read = readSync(fd, bytes, 0, bytes.length, from);
    return bytes.toString("latin1", 0, read);
  } finally {
    closeSync(fd);
  }
}

function seqOf(line: string): number {
  if (!line.startsWith("{")) return 0;
  try {
    const record: unknown = JSON.parse(line);
    const seq = typeof record === "object" && record !== null && "seq" in record ? record.seq : 0;
    return typeof seq === "number" && Number.isSafeInteger(seq) ? seq : 0;
  } catch {
    return 0;
  }
}
