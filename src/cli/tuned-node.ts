/** V8's default lets its youngest generation grow to 48 MB before it collects. A third of that costs a few per cent more and keeps the process some
 *  20 MB smaller under load. Less is a false economy: calls under way are then copied again and again, and end in the old generation (at
 *  2 MB a call over HTTP/2 costs a third more, and the process is larger). Read once, at the start of a process. */
const V8_FLAGS: readonly string[] = ["--max-semi-space-size=8"];
/** glibc gives every thread an arena of its own by default and returns little from them. */
const ARENAS = { MALLOC_ARENA_MAX: "1" };

type Environment = Readonly<Record<string, string | undefined>>;

/** Arguments for a Node that will run the sidecar, where the user has not chosen his own. */
export function tuningFlags(execArgv: readonly string[], environment: Environment): readonly string[] {
  const chosen = [...execArgv, environment["NODE_OPTIONS"] ?? ""].some((word) =>
    word.includes("--max-semi-space-size"),
  );
  return chosen ? [] : V8_FLAGS;
}

export function tunedEnvironment(environment: Environment): Record<string, string> {
  const tuned: Record<string, string> = { ...ARENAS };
  for (const [name, value] of Object.entries(environment)) if (value !== undefined) tuned[name] = value;
  return tuned;
}

/** Whether this command's process is worth tuning: the one that carries traffic for days. */
export function isLongRunning(command: string | undefined): boolean {
  return command === "run";
}

/** Replaces this process by one with the flags: same pid, same streams, about 40 ms. Returns where the platform can't, and where
 *  the flags are there already. */
export function becomeTuned(script: string): void {
  const flags = tuningFlags(process.execArgv, process.env);
  const execve: typeof process.execve | undefined = process.execve;
  if (flags.length === 0 || execve === undefined || process.platform !== "linux") return;
  const argv = [process.execPath, ...flags, ...process.execArgv, script, ...process.argv.slice(2)];
  process.execve?.(process.execPath, argv, tunedEnvironment(process.env));
}
