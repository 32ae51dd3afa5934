import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { createLineReader } from "../audit/line-reader.ts";
import type { CliIo } from "./cli-io.ts";

/** What was read of a pipe, to be read again. */
export interface HeldInput {
  readonly name: string;
  readonly bytes: Buffer;
}

/** A file by its path, `-` for the standard input, a pipe by its path (/dev/stdin, /dev/fd/63), or what is held of one. */
export type LineInput = string | HeldInput;

/** The longest line that means anything; what is longer is handed out cut, for no reader takes it. */
const MAX_LINE_BYTES = 1024 * 1024;
/** Of a pipe that is read twice, in the usual case. */
const MAX_HELD_BYTES = 256 * 1024 * 1024;

/** What a name on the command line means. */
export function inputOf(named: string, cwd: string): string {
  return named === "-" ? named : resolve(cwd, named);
}

/** For people. */
export function nameOfInput(input: LineInput): string {
  const name = typeof input === "string" ? input : input.name;
  return name === "-" ? "standard input" : name;
}

/** Hands out the lines, the last one too if no line feed ends it. Of a pipe one line at a time is in memory. Rejects with Node's system errors. */
export async function readInputLines(
  input: LineInput,
  io: Pick<CliIo, "stdin">,
  take: (line: string) => void,
): Promise<void> {
  if (typeof input !== "string") return splitLines([input.bytes], take);
  if (await isPipe(input)) return splitLines(streamOf(input, io), take);
  const reader = createLineReader(input);
  try {
    await reader.read(take);
    const rest = reader.takeRest();
    if (rest !== "") take(rest);
  } finally {
    await reader.close();
  }
}

/** What can be read as often as one likes: a pipe's bytes are held. undefined: there were more than `maxBytes`. */
export async function heldInput(
  input: string,
  io: Pick<CliIo, "stdin">,
  maxBytes: number = MAX_HELD_BYTES,
): Promise<LineInput | undefined> {
  if (!(await isPipe(input))) return input;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of streamOf(input, io)) {
    length += chunk.length;
    if (length > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return { name: input, bytes: Buffer.concat(chunks) };
}

/** What can be read only once, from its beginning to its end. */
export async function isPipe(input: string): Promise<boolean> {
  if (input === "-") return true;
  const kind = await stat(input).catch(() => undefined);
  return kind !== undefined && !kind.isFile() && !kind.isDirectory();
}

function streamOf(input: string, io: Pick<CliIo, "stdin">): AsyncIterable<Buffer> {
  return input === "-" ? (io.stdin ?? process.stdin) : createReadStream(input);
}

async function splitLines(
  chunks: AsyncIterable<Buffer> | Iterable<Buffer>,
  take: (line: string) => void,
): Promise<void> {
  let pieces: Buffer[] = [];
  let length = 0;
  const add = (piece: Buffer): void => {
    const room = Math.max(0, MAX_LINE_BYTES - length);
    if (room > 0) pieces.push(piece.subarray(0, room));
    length += piece.length;
  };
  const end = (): void => {
    take(Buffer.concat(pieces).toString("utf8"));
    pieces = [];
    length = 0;
  };
  for await (const chunk of chunks) {
    let from = 0;
    for (let at = chunk.indexOf(0x0a); at !== -1; at = chunk.indexOf(0x0a, from)) {
      add(chunk.subarray(from, at));
      end();
      from = at + 1;
    }
    // A stream may use its chunk again.
    if (from < chunk.length) add(Buffer.from(chunk.subarray(from)));
  }
  if (length > 0) end();
}
