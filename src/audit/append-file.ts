import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import * as realFs from "node:fs/promises";

/** The few file operations of the file sink; tests put a full disk in their place. */
export type AuditFs = Pick<typeof realFs, "open" | "stat" | "rename" | "rm">;
export const nodeFs: AuditFs = realFs;

/** An audit file that is open for appending. */
export interface AppendFile {
  readonly handle: FileHandle;
  readonly dev: number;
  readonly ino: number;
  /** False for a device: no rotation, no fsync. */
  readonly regular: boolean;
  /** Bytes in the file. */
  size: number;
  /** The file's last line lacks its line feed. */
  torn: boolean;
  /** Wall-clock milliseconds of its first record, or of now when it is empty. */
  readonly startedMs: number;
}

const FIRST_LINE_BYTES = 256;

/** Opens (or makes, mode 0600) the file. Refuses a symbolic link as the last step of the path, and anything that is neither a
 *  file nor a character device, so that nobody can lead the log elsewhere or park it on a pipe. Throws Node's system errors. */
export async function openAppendFile(fs: AuditFs, path: string, nowMs: number): Promise<AppendFile> {
  const { O_RDWR, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  const handle = await fs.open(path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  try {
    const stats = await handle.stat();
    const regular = stats.isFile();
    if (!regular && !stats.isCharacterDevice()) throw new Error("neither a file nor a character device");
    const size = regular ? stats.size : 0;
    let torn = false;
    let startedMs = nowMs;
    if (size > 0) {
      const bytes = Buffer.alloc(FIRST_LINE_BYTES);
      await handle.read(bytes, 0, 1, size - 1);
      torn = bytes[0] !== 0x0a;
      const { bytesRead } = await handle.read(bytes, 0, FIRST_LINE_BYTES, 0);
      const first = /^\{"time":"([^"]+)"/.exec(bytes.toString("latin1", 0, bytesRead))?.[1];
      const parsed = first === undefined ? Number.NaN : Date.parse(first);
      if (Number.isFinite(parsed)) startedMs = parsed;
    }
    return { handle, dev: stats.dev, ino: stats.ino, regular, size, torn, startedMs };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Moves path to path.1, path.1 to path.2 and so on; the oldest beyond `keep` goes. Each step is atomic: a crash between two
 *  leaves a gap in the numbers and loses nothing. */
export async function shiftRotatedFiles(fs: AuditFs, path: string, keep: number): Promise<void> {
  if (keep === 0) return fs.rm(path);
  for (let i = keep; i >= 1; i--) {
    const from = i === 1 ? path : `${path}.${i - 1}`;
    try {
      await fs.rename(from, `${path}.${i}`);
    } catch (error) {
      if (i === 1 || !isMissing(error)) throw error;
    }
  }
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
