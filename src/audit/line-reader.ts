import { constants } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { isMissing } from "./append-file.ts";

const CHUNK_BYTES = 256 * 1024;
/** A longer line is no record of ours; its beginning is handed out and the rest is skipped. */
const MAX_LINE_BYTES = 1024 * 1024;

/** Reads the lines of a growing file, and goes on in the next one when it is rotated, replaced or truncated. */
export interface LineReader {
  /** Hands out every complete line that came since the last time. Rejects with Node's system errors; ENOENT before the file
   *  was there once, or between the two halves of a rotation: try again. */
  read(onLine: (line: string) => void): Promise<void>;
  /** What stands after the last line feed, "" mostly. */
  takeRest(): string;
  close(): Promise<void>;
}

export function createLineReader(path: string): LineReader {
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  let file: { readonly handle: FileHandle; readonly dev: number; readonly ino: number } | undefined;
  let offset = 0;
  let rest = Buffer.alloc(0);
  let skipping = false;

  async function openFile(): Promise<void> {
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const { dev, ino } = await handle.stat();
    file = { handle, dev, ino };
    offset = 0;
  }
  function takeRest(): string {
    const text = rest.toString("utf8");
    rest = Buffer.alloc(0);
    skipping = false;
    return text;
  }
  function split(bytes: Buffer, onLine: (line: string) => void): void {
    let from = 0;
    for (let end = bytes.indexOf(0x0a); end !== -1; end = bytes.indexOf(0x0a, from)) {
      const piece = bytes.subarray(from, end);
      if (!skipping) onLine((rest.length === 0 ? piece : Buffer.concat([rest, piece])).toString("utf8"));
      rest = Buffer.alloc(0);
      skipping = false;
      from = end + 1;
    }
    if (skipping) return;
    // The chunk is read into again: what stays must be a copy.
    rest = Buffer.concat([rest, bytes.subarray(from)]);
    if (rest.length > MAX_LINE_BYTES) {
      onLine(takeRest());
      skipping = true;
    }
  }
  async function drain(handle: FileHandle, onLine: (line: string) => void): Promise<void> {
    for (;;) {
      const { bytesRead } = await handle.read(chunk, 0, CHUNK_BYTES, offset);
      if (bytesRead === 0) return;
      offset += bytesRead;
      split(chunk.subarray(0, bytesRead), onLine);
    }
  }
  /** What the path names now. */
  async function look(): Promise<"same" | "truncated" | "other" | "missing"> {
    try {
      const now = await stat(path);
      if (now.dev !== file?.dev || now.ino !== file.ino) return "other";
      return now.size < offset ? "truncated" : "same";
    } catch (error) {
      if (isMissing(error)) return "missing";
      throw error;
    }
  }
  return {
    async read(onLine) {
      if (file === undefined) await openFile();
      while (file !== undefined) {
        await drain(file.handle, onLine);
        const state = await look();
        // While nothing new is there, the old file may still be written to.
        if (state === "same" || state === "missing") return;
        if (state === "truncated") {
          offset = 0;
          takeRest();
          continue;
        }
        // A last look: lines may have come between the drain and the rename.
        await drain(file.handle, onLine);
        const torn = takeRest();
        if (torn !== "") onLine(torn);
        const old = file.handle;
        file = undefined;
        await old.close();
        await openFile();
      }
    },
    takeRest,
    async close() {
      await file?.handle.close();
      file = undefined;
    },
  };
}
