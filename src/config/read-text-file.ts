import { isAscii } from "node:buffer";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { CountersignError, type SourcePosition } from "../core/errors.ts";

/** Reads a UTF-8 file of at most `maxBytes`. Follows symbolic links (Kubernetes mounts are made of them) and refuses
 *  what is no regular file, so that a named pipe cannot hang a start. Throws CountersignError E_CONFIG_FILE;
 *  `at` is the place that names the file, when another file does. */
export async function readTextFile(file: string, maxBytes: number, at?: SourcePosition): Promise<string> {
  const fail = (why: string, cause?: unknown): CountersignError =>
    new CountersignError("E_CONFIG_FILE", at === undefined ? why : `${file} ${why}`, { at: at ?? { file }, cause });
  let bytes: Buffer;
  try {
    // Without O_NONBLOCK, opening a named pipe would wait for its writer.
    await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await handle.stat();
    if (!stat.isFile()) throw fail("is not a regular file");
    bytes = await readUpTo(handle, stat.size, maxBytes + 1);
    if (bytes.length > maxBytes) throw fail(`is larger than ${maxBytes} bytes`);
  } catch (error) {
    if (error instanceof CountersignError) throw error;
    throw fail(fileProblem(error), error);
  }
  try {
    // V8's heap holds no text that Node makes of more than a megabyte of this: what is large does not bring a collection forward
    return isAscii(bytes) ? bytes.toString("latin1") : new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw fail("is not UTF-8 text", error);
  }
}

/** In one piece, if the file is as long as it says. That is no bound for a file that grows, or for one of /proc, which says 0. */
async function readUpTo(handle: FileHandle, size: number, maxBytes: number): Promise<Buffer> {
  let bytes = Buffer.allocUnsafe(Math.min(size + 1, maxBytes));
  let length = 0;
  for (;;) {
    const { bytesRead } = await handle.read(bytes, length, bytes.length - length, null);
    length += bytesRead;
    if (bytesRead === 0 || length === maxBytes) return bytes.subarray(0, length);
    if (length === bytes.length) bytes = Buffer.concat([bytes], Math.min(2 * length + 65_536, maxBytes));
  }
}

/** What an error of the file system means, in words that follow a path. */
export function fileProblem(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code === "ENOENT") return "does not exist";
  if (code === "EACCES" || code === "EPERM") return "may not be read by this user";
  if (code === "EISDIR") return "is a folder";
  return `cannot be read${code === "" ? "" : ` (${code})`}`;
}
