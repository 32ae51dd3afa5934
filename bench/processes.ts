// Starts the processes of a benchmark or soak run and makes sure that none outlives it: not after a failure, not after
// Ctrl-C, not when this process exits in the middle.
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";

export interface StartOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** "keep" for `output()`, a file to append to, or (default) thrown away. */
  readonly stdout?: "keep" | { readonly file: string };
  readonly onStderrLine?: (line: string) => void;
}

export interface Child {
  readonly name: string;
  readonly pid: number;
  /** Settles when the process has ended and its output is read; never rejects. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  readonly isRunning: () => boolean;
  /** All of stdout, with `stdout: "keep"`. */
  readonly output: () => string;
  /** The last lines of stderr, for error messages. */
  readonly stderrTail: () => string;
  /** SIGTERM, then SIGKILL after `graceMs` (default 3 s). */
  readonly stop: (graceMs?: number) => Promise<void>;
  /** kill -9, at once. */
  readonly kill: () => void;
}

export interface Children extends AsyncDisposable {
  readonly start: (name: string, command: string, args: readonly string[], options?: StartOptions) => Promise<Child>;
  /** Starts, waits for the end and returns stdout. Throws when it fails or takes longer than `timeoutMs`. */
  readonly run: (name: string, command: string, args: readonly string[], timeoutMs: number) => Promise<string>;
}

const keptStderrLines = 40;

/** A set of processes that end with it. An abort of `signal` ends them all; what waits for one of them then fails. */
export function createChildren(signal: AbortSignal): Children {
  const running = new Set<Child>();
  const killAll = (): void => {
    for (const child of running) child.kill();
  };
  const stopAll = async (): Promise<void> => {
    await Promise.all(Array.from(running, (child) => child.stop()));
  };
  const onAbort = (): void => void stopAll(); // `stop` never rejects
  process.on("exit", killAll);
  signal.addEventListener("abort", onAbort);

  async function start(
    name: string,
    command: string,
    args: readonly string[],
    options: StartOptions = {},
  ): Promise<Child> {
    signal.throwIfAborted();
    const stdout = options.stdout;
    const file = typeof stdout === "object" ? openSync(stdout.file, "a") : undefined;
    // A group of its own, so that workers of a master process end with it, and Ctrl-C reaches only us.
    const process_ = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ["ignore", file ?? (stdout === "keep" ? "pipe" : "ignore"), "pipe"],
      detached: true,
    });
    if (file !== undefined) closeSync(file);
    const kept: string[] = [];
    process_.stdout?.setEncoding("utf8").on("data", (text: string) => kept.push(text));
    const tail: string[] = [];
    if (process_.stderr !== null)
      createInterface({ input: process_.stderr }).on("line", (line) => {
        tail.push(line);
        if (tail.length > keptStderrLines) tail.shift();
        options.onStderrLine?.(line);
      });
    const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
      process_.once("close", (code, endSignal) => resolve({ code, signal: endSignal }));
    });
    await new Promise<void>((resolve, reject) => {
      process_.once("spawn", resolve);
      process_.once("error", reject);
    });
    const pid = process_.pid;
    if (pid === undefined) throw new Error(`${name} has no pid`);
    const signalGroup = (kind: NodeJS.Signals): void => {
      if (!running.has(child)) return;
      try {
        process.kill(-pid, kind);
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
      }
    };
    const child: Child = {
      name,
      pid,
      ended,
      isRunning: () => running.has(child),
      output: () => kept.join(""),
      stderrTail: () => tail.join("\n"),
      kill: () => signalGroup("SIGKILL"),
      stop: async (graceMs = 3_000) => {
        signalGroup("SIGTERM");
        const timer = setTimeout(() => signalGroup("SIGKILL"), graceMs);
        await ended;
        clearTimeout(timer);
      },
    };
    running.add(child);
    void ended.then(() => running.delete(child)); // `ended` never rejects
    return child;
  }

  async function run(name: string, command: string, args: readonly string[], timeoutMs: number): Promise<string> {
    const child = await start(name, command, args, { stdout: "keep" });
    const timer = setTimeout(child.kill, timeoutMs);
    const { code, signal: endSignal } = await child.ended;
    clearTimeout(timer);
    signal.throwIfAborted();
    if (code !== 0)
      throw new Error(
        `${name} ended with ${code ?? endSignal ?? "nothing"}:\n${child.stderrTail() || child.output().slice(-2_000)}`,
      );
    return child.output();
  }

  return {
    start,
    run,
    async [Symbol.asyncDispose]() {
      await stopAll();
      process.removeListener("exit", killAll);
      signal.removeEventListener("abort", onAbort);
    },
  };
}

/** Asks `isReady` every 20 ms until it says yes. Throws when the process ends first or `timeoutMs` has passed. */
export async function waitUntilReady(
  child: Child,
  isReady: () => boolean | Promise<boolean>,
  timeoutMs: number,
): Promise<void> {
  const until = performance.now() + timeoutMs;
  while (!(await isReady())) {
    if (!child.isRunning()) throw new Error(`${child.name} ended before it was ready:\n${child.stderrTail()}`);
    if (performance.now() > until)
      throw new Error(`${child.name} was not ready after ${timeoutMs} ms:\n${child.stderrTail()}`);
    await delay(20);
  }
}
