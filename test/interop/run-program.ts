import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";

export interface Finished {
  readonly code: number | null;
  /** stdout and stderr, in the order in which they came. */
  readonly output: string;
}

/** Runs a program to its end, which is a kill after `timeoutMs`. */
export async function runProgram(command: string, args: readonly string[], timeoutMs: number): Promise<Finished> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
  const [code] = (await once(child, "close")) as [number | null];
  clearTimeout(timer);
  return { code, output };
}

export interface RunningProgram extends AsyncDisposable {
  readonly process: ChildProcess;
}

/** Starts a program that runs until it is disposed of, and waits until `isReady` says yes. */
export async function startProgram(
  command: string,
  args: readonly string[],
  isReady: () => Promise<boolean>,
): Promise<RunningProgram> {
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"] });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  const ended = new Promise<void>((resolve) => {
    child.once("error", (error) => {
      errors += error.message;
      resolve();
    });
    child.once("close", () => resolve());
  });
  const program: RunningProgram = {
    process: child,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 3_000);
      await ended;
      clearTimeout(timer);
    },
  };
  for (const end = performance.now() + 20_000; !(await isReady()); ) {
    if (child.exitCode !== null || performance.now() > end) {
      await program[Symbol.asyncDispose]();
      throw new Error(`${command} is not ready: ${errors}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return program;
}
