import { errorCodes } from "../core/error-codes.ts";
import { CountersignError, CountersignErrors, formatError } from "../core/errors.ts";
import type { CliIo } from "./cli-io.ts";

/** Runs `main` as this process: its arguments, streams, signals and exit code. */
export async function start(main: (argv: readonly string[], io: CliIo) => Promise<number>): Promise<void> {
  dropExperimentalWarnings();
  endQuietlyWithReader(process.stdout);
  endQuietlyWithReader(process.stderr);
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  // timers of ours hold no process: without this, one that waits for a timer alone would end in the middle of it
  const alive = setInterval(() => undefined, 2 ** 30);
  try {
    process.exitCode = await main(process.argv.slice(2), {
      out: (text) => void process.stdout.write(text),
      err: (text) => void process.stderr.write(text),
      env: process.env,
      cwd: process.cwd(),
      colour: process.stdout.isTTY === true && (process.env["NO_COLOR"] ?? "") === "",
      signal: stop.signal,
    });
  } catch (error) {
    process.exitCode = report(error);
  }
  clearInterval(alive);
  process.removeListener("SIGINT", onSignal);
  process.removeListener("SIGTERM", onSignal);
}

/** The edge: what no command dealt with. A stack is shown only for what is a mistake of ours. */
function report(error: unknown): number {
  if (error instanceof CountersignErrors) {
    process.stderr.write(`${error.errors.map(formatError).join("\n")}\n`);
    return 2;
  }
  const text = error instanceof CountersignError ? withFix(error) : error instanceof Error ? error.stack : undefined;
  process.stderr.write(`countersign: ${text ?? String(error)}\n`);
  return 1;
}

/** The line with what to do: the error's own fix, or the catalogue's. */
function withFix({ code, message, at, fix = errorCodes[code].fix }: CountersignError): string {
  return formatError(new CountersignError(code, message, { at, fix }));
}

/** node:ffi is experimental in Node 26 and says so on stderr, where our log is. Other warnings stay. */
export function dropExperimentalWarnings(): void {
  const listeners = process.listeners("warning");
  process.removeAllListeners("warning");
  process.on("warning", (warning) => {
    if (warning.name === "ExperimentalWarning") return;
    for (const listener of listeners) listener.call(process, warning);
  });
}

/** `countersign … | head`: a reader that has seen enough is no failure worth a stack. */
function endQuietlyWithReader(stream: NodeJS.WriteStream): void {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(process.exitCode ?? 0);
  });
}
