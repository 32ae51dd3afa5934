import { spawn } from "node:child_process";
import { Socket } from "node:net";
import { constants } from "node:os";
import type { Writable } from "node:stream";
import { getSystemErrorMessage } from "node:util";
import { endFirst, putInBackground } from "./background-process.ts";
import { type Libc, libc } from "./libc.ts";

/** A process that was started for one question: it reads it from its standard input and answers on its standard output. What it says on
 *  standard error is lost. */
export interface ApartProcess {
  readonly input: Writable;
  /** How it ended: an exit code, or the signal that ended it. */
  readonly ended: Promise<string>;
  /** Ends it now, if it has not ended yet, and lets go of what goes in and out. */
  kill(): void;
}

/** Of standard output. */
export interface OutputReader {
  /** The next bytes, which stay only until it returns. */
  readonly take: (bytes: Uint8Array) => void;
  /** No more comes, however it ended. May be called more than once. */
  readonly end: () => void;
}

export interface Program {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Others come first: see putInBackground. */
  readonly inBackground: boolean;
}

/** Starts a program, in a process group of its own: what is sent to ours, such as a terminal's Ctrl-C, is for us. Memory that runs out ends it first. Node starts one by copying this process, all its page tables included, while nothing else happens in it: some
 *  10 ms where 200 MB are in use. posix_spawn(3) copies nothing, and takes half a millisecond. Where it is not to be had, Node does it. Throws what the
 *  system says when there is no process. */
export function startApart(program: Program, output: OutputReader): ApartProcess {
  const functions = process.platform === "linux" ? libcIfAny() : undefined;
  const { pid, ...started } =
    functions === undefined ? startByNode(program, output) : startByPosix(functions, program, output);
  if (pid !== undefined) endFirst(pid);
  if (pid !== undefined && program.inBackground) putInBackground(pid);
  return started;
}

interface Started extends ApartProcess {
  /** Undefined where nothing was started: then `ended` says why. */
  readonly pid: number | undefined;
}

function libcIfAny(): Libc | undefined {
  try {
    return libc();
  } catch {
    return undefined; // a Node without node:ffi
  }
}

function startByNode({ file, args, env }: Program, output: OutputReader): Started {
  const child = spawn(file, args, { env, stdio: ["pipe", "pipe", "ignore"], detached: true });
  const { promise: ended, resolve } = Promise.withResolvers<string>();
  child.once("error", (error) => resolve(error.message));
  child.once("exit", (code, signal) => resolve(signal ?? `exit code ${code}`));
  // without descriptors or processes to have, Node makes no streams, and says why later
  if ((child.stdin as Writable | undefined) === undefined)
    throw new Error(`${file} was not started: no process or descriptor is left`);
  child.stdout.on("data", output.take).once("end", output.end).once("close", output.end).on("error", output.end);
  const kill = (): void => {
    child.kill("SIGKILL");
    child.stdin.destroy();
    child.stdout.destroy();
  };
  return { pid: child.pid, input: child.stdin, ended, kill };
}

const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 0x80001;
const O_WRONLY = 1;
const WNOHANG = 1;
/** The group is the child's own, if none is named. */
const POSIX_SPAWN_SETPGROUP = 2;
/** More than any C library wants: glibc 80 and 336. */
const [FILE_ACTIONS_BYTES, ATTRIBUTES_BYTES] = [512, 1_024];
const POINTER_BYTES = 8;
const READ_BYTES = 65_536;
const [FIRST_LOOK_MS, LAST_LOOK_MS] = [2, 100];

function startByPosix(functions: Libc, { file, args, env }: Program, output: OutputReader): Started {
  const ends = Buffer.alloc(8);
  if (functions.socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, ends) !== 0)
    throw new Error("there is no socket for it: no file descriptor is left (ulimit -n)");
  const [ours, theirs] = [ends.readInt32LE(0), ends.readInt32LE(4)];
  const actions = Buffer.alloc(FILE_ACTIONS_BYTES);
  const attributes = Buffer.alloc(ATTRIBUTES_BYTES);
  const prepared = [
    functions.posix_spawnattr_init(attributes),
    functions.posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP),
    functions.posix_spawn_file_actions_init(actions),
    functions.posix_spawn_file_actions_adddup2(actions, theirs, 0),
    functions.posix_spawn_file_actions_adddup2(actions, theirs, 1),
    functions.posix_spawn_file_actions_addopen(actions, 2, cString("/dev/null"), O_WRONLY, 0),
  ];
  const argv = cStrings([file, ...args]);
  const environment = cStrings(Object.entries(env).map(([name, value]) => `${name}=${value}`));
  const pid = Buffer.alloc(4);
  // with one of these undone it would write to what is ours
  const error =
    prepared.find((problem) => problem !== 0) ??
    functions.posix_spawn(pid, cString(file), actions, attributes, argv.pointers, environment.pointers);
  // until here the pointers are in use, and nothing else keeps what they point to
  argv.texts.length = environment.texts.length = 0;
  functions.posix_spawn_file_actions_destroy(actions);
  functions.close(theirs);
  if (error !== 0) {
    functions.close(ours);
    throw new Error(`posix_spawn: ${getSystemErrorMessage(-error)}`);
  }
  const callback = (length: number, bytes: Uint8Array): boolean => {
    output.take(bytes.subarray(0, length));
    return true;
  };
  // a buffer for each read, as sockets have them otherwise, would bring the next collection of the whole heap forward
  const onread = { buffer: Buffer.allocUnsafeSlow(READ_BYTES), callback };
  const stream = new Socket({ fd: ours, allowHalfOpen: true, onread });
  const number = pid.readInt32LE(0);
  const child = reaped(functions, number);
  const end = (): void => {
    output.end();
    child.look();
  };
  stream.once("end", end).once("close", end).on("error", end);
  const kill = (): void => {
    child.kill();
    stream.destroy();
  };
  return { pid: number, input: stream, ended: child.ended, kill };
}

/** Asks how a child ended, from the first sign of its end on, until the system knows: nobody else does, and a child that nobody asks about stays
 *  as a zombie. */
function reaped(
  { waitpid }: Libc,
  pid: number,
): { readonly ended: Promise<string>; readonly look: () => void; readonly kill: () => void } {
  const { promise: ended, resolve } = Promise.withResolvers<string>();
  let isLooking = false;
  let isOver = false;
  const look = (): void => {
    if (isLooking) return;
    isLooking = true;
    lookAfter(FIRST_LOOK_MS);
  };
  const lookAfter = (ms: number): void => {
    const status = Buffer.alloc(4);
    const found = waitpid(pid, status, WNOHANG);
    if (found === 0) {
      setTimeout(() => lookAfter(Math.min(2 * ms, LAST_LOOK_MS)), ms);
      return;
    }
    isOver = true;
    resolve(found === pid ? endOf(status.readInt32LE(0)) : "an unknown end");
  };
  const kill = (): void => {
    try {
      // the number is the child's until it is reaped
      if (!isOver) process.kill(pid, "SIGKILL");
    } catch {
      // it has ended, or is protected from us; then it ends once nobody reads its answer
    }
    look();
  };
  return { ended, look, kill };
}

/** A status as waitpid(2) gives it. */
function endOf(status: number): string {
  const signal = status & 0x7f;
  if (signal === 0) return `exit code ${(status >> 8) & 0xff}`;
  return Object.entries(constants.signals).find(([, number]) => number === signal)?.[0] ?? `signal ${signal}`;
}

function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

/** An array of pointers to strings that a null pointer ends. It names what `texts` holds, for as long as that is held. */
function cStrings(strings: readonly string[]): { readonly pointers: Buffer; readonly texts: Buffer[] } {
  const { getRawPointer } = process.getBuiltinModule("node:ffi");
  const texts = strings.map(cString);
  const pointers = Buffer.alloc((texts.length + 1) * POINTER_BYTES);
  for (const [i, text] of texts.entries()) pointers.writeBigUInt64LE(getRawPointer(text), i * POINTER_BYTES);
  return { pointers, texts };
}
