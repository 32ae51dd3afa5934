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
    if (!(await handle.stat()).isFile()) throw fail("is not a regular file");
    bytes = await readUpTo(handle, maxBytes + 1);
    if (bytes.length > maxBytes) throw fail(`is larger than ${maxBytes} bytes`);
  } catch (error) {
    if (error instanceof CountersignError) throw error;
    throw fail(fileProblem(error), error);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw fail("is not UTF-8 text", error);
  }
}

/** In chunks: the size that stat gives is no bound for a file that grows, or for one of /proc. */
async function readUpTo(handle: FileHandle, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  while (length < maxBytes) {
    const chunk = Buffer.allocUnsafe(Math.min(65_536, maxBytes - length));
    const { bytesRead } = await handle.read(chunk, 0, chunk.length, null);
    if (bytesRead === 0) break;
    chunks.push(chunk.subarray(0, bytesRead));
    length += bytesRead;
  }
  return Buffer.concat(chunks, length);
}

/** What an error of the file system means, in words that follow a path. */
export function fileProblem(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code === "ENOENT") return "does not exist";
  if (code === "EACCES" || code === "EPERM") return "may not be read by this user";
  if (code === "EISDIR") return "is a folder";
  return `cannot be read${code === "" ? "" : ` (${code})`}`;
}
