import type { Clock } from "../core/clock.ts";
import { type AppendFile, type AuditFs, isMissing, nodeFs, openAppendFile, shiftRotatedFiles } from "./append-file.ts";
import type { AuditLogger, FileSinkOptions } from "./audit-options.ts";
import type { Sink } from "./sink.ts";

const MOVED_CHECK_MS = 1000;
const FSYNC_MS = 1000;
/** After a rotation that failed, the file is written on and rotation waits this long. */
const ROTATE_RETRY_MS = 60_000;
const NEWLINE = Buffer.from("\n");

/** Records in a file. Goes on in a new file when ours was renamed or deleted, rotates by size and age, ends a line that a crash cut off.
 *  Every failure (ENOSPC, EROFS, EACCES, EIO …) rejects the write, which the writer repeats. */
export function createFileSink(options: FileSinkOptions, clock: Clock, log: AuditLogger, fs: AuditFs = nodeFs): Sink {
  const { path, rotate } = options;
  let file: AppendFile | undefined;
  /** Bytes of the current batch that are in files, and how many of them went to files before this one. */
  let done = 0;
  let doneBefore = 0;
  let movedCheckedMs = Number.NEGATIVE_INFINITY;
  let rotateFromMs = Number.NEGATIVE_INFINITY;
  let syncing: Promise<void> | undefined;
  let cancelSync: (() => void) | undefined;
  let syncError: unknown;

  async function letGo(): Promise<void> {
    const old = file;
    file = undefined;
    cancelSync?.();
    cancelSync = undefined;
    await syncing;
    if (old === undefined) return;
    if (old.regular && options.fsync !== "never") await sync(old);
    await old.handle.close();
  }
  async function sync(target: AppendFile): Promise<void> {
    try {
      await target.handle.datasync();
    } catch (error) {
      syncError = error;
    }
  }
  /** Runs beside the writes: a slow disk must not keep records in this process, where a kill would lose them. */
  function scheduleSync(target: AppendFile): void {
    if (options.fsync === "never" || !target.regular || cancelSync !== undefined) return;
    cancelSync = clock.after(FSYNC_MS, () => {
      cancelSync = undefined;
      const before = syncing;
      const mine = (before ?? Promise.resolve()).then(() => sync(target));
      syncing = mine.finally(() => {
        syncing = undefined;
      });
    });
  }
  /** Whether the path still names our file; refreshes the size, which copytruncate changes. */
  async function stillThere(current: AppendFile): Promise<boolean> {
    if (!current.regular) return true;
    try {
      const stats = await fs.stat(path);
      if (stats.dev !== current.dev || stats.ino !== current.ino) return false;
      current.size = stats.size;
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }
  async function ensureOpen(bytes: Buffer): Promise<AppendFile> {
    const now = clock.monotonicMs();
    if (file !== undefined && now - movedCheckedMs >= MOVED_CHECK_MS) {
      if (!(await stillThere(file))) await letGo();
      movedCheckedMs = now;
    }
    if (file === undefined) {
      // The rest of a batch begins in the new file with a whole line; its torn half stays behind in the old one.
      done = done === 0 ? 0 : bytes.lastIndexOf(0x0a, done - 1) + 1;
      doneBefore = done;
      file = await openAppendFile(fs, path, clock.nowMs());
      movedCheckedMs = now;
    }
    return file;
  }
  async function rotateIfDue(current: AppendFile, length: number): Promise<AppendFile> {
    if (!current.regular || current.size === 0 || done > 0 || length === 0) return current;
    const bySize = rotate.sizeBytes > 0 && current.size + length > rotate.sizeBytes;
    const byAge = rotate.ageMs > 0 && clock.nowMs() - current.startedMs >= rotate.ageMs;
    if ((!bySize && !byAge) || clock.monotonicMs() < rotateFromMs) return current;
    try {
      if (await stillThere(current)) await shiftRotatedFiles(fs, path, rotate.keep);
    } catch (error) {
      rotateFromMs = clock.monotonicMs() + ROTATE_RETRY_MS;
      log.error({ event: "audit.rotate_failed", path, err: error }, "the audit file could not be rotated; it grows on");
      return current;
    }
    await letGo();
    file = await openAppendFile(fs, path, clock.nowMs());
    return file;
  }
  async function append(current: AppendFile, bytes: Buffer, from: number, end: number): Promise<number> {
    const { bytesWritten } = await current.handle.write(bytes, from, end - from, null);
    if (bytesWritten === 0 && end > from) throw new Error("the file takes no more bytes");
    current.size += bytesWritten;
    return bytesWritten;
  }

  return {
    name: `file ${path}`,
    async write(bytes, length) {
      const failedSync = syncError;
      syncError = undefined;
      if (failedSync !== undefined) throw failedSync;
      let current = await rotateIfDue(await ensureOpen(bytes), length);
      while (done < length) {
        if (current.torn) {
          await append(current, NEWLINE, 0, 1);
          current.torn = false;
        }
        while (done < length) done += await append(current, bytes, done, length);
        // Deleted under us: what this batch put there is lost with it, so it goes to the next file as well.
        if (current.regular && (await current.handle.stat()).nlink === 0) {
          await letGo();
          done = doneBefore;
          current = await ensureOpen(bytes);
        }
      }
      if (length > 0) scheduleSync(current);
      done = 0;
      doneBefore = 0;
    },
    async close() {
      await letGo();
    },
  };
}
