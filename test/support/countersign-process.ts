// The real program in processes of its own, as its users start it: arguments and files in, log, signals and exit code out.
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";

const BIN = join(import.meta.dirname, "..", "..", "src", "cli", "bin.ts");
/** Longer than anything that a test waits for takes, also on a busy machine. */
const DEADLINE_MS = 15_000;

export interface LogLine {
  readonly event: string;
  readonly [field: string]: unknown;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running `countersign run`. */
export interface SidecarProcess {
  readonly pid: number;
  /** The first such event of the log that no earlier call took. Rejects when the process ends without it. */
  next(event: string): Promise<LogLine>;
  /** Port of the listener with that name, once it has said that it listens. */
  port(name: string): Promise<number>;
  signal(kind: NodeJS.Signals): void;
  readonly ended: Promise<Ended>;
}

export interface CountersignProcesses {
  /** `countersign run -c file`, or another command that serves: `issuer run`. Returns at once: wait for its events. */
  run(file: string, command?: readonly string[]): SidecarProcess;
  /** Any other command, until it has ended. */
  command(...args: readonly string[]): Promise<Ended>;
  /** Kills what still runs. */
  close(): Promise<void>;
}

export function countersignProcesses(): CountersignProcesses {
  const running = new Map<ChildProcess, Promise<Ended>>();
  const killAll = (): void => {
    for (const child of running.keys()) child.kill("SIGKILL");
  };
  process.on("exit", killAll);

  function start(args: readonly string[], onLine: (line: string) => void): [ChildProcess, Promise<Ended>] {
    const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", BIN, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    if (child.stderr !== null)
      createInterface({ input: child.stderr }).on("line", (line) => {
        stderr += `${line}\n`;
        onLine(line);
      });
    const ended = new Promise<Ended>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, signal) => {
        running.delete(child);
        resolve({ code, signal, stdout, stderr });
      });
    });
    running.set(child, ended);
    return [child, ended];
  }

  return {
    run(file, command = ["run"]) {
      const lines: LogLine[] = [];
      const taken = new Set<LogLine>();
      const watchers = new Set<() => void>();
      const ports = new Map<string, number>();
      let over: string | undefined;
      const tell = (): void => {
        for (const watcher of watchers) watcher();
      };
      const [child, ended] = start([...command, "-c", file], (line) => {
        const entry = parseLine(line);
        if (entry === undefined) return;
        lines.push(entry);
        if (entry.event === "listening") ports.set(String(entry["name"]), portOf(String(entry["address"])));
        tell();
      });
      void ended.then(({ code, signal, stderr }) => {
        over = `it ended with ${code ?? signal}:\n${stderr}`;
        tell();
      });
      const until = <T>(what: string, look: () => T | undefined): Promise<T> =>
        new Promise((resolve, reject) => {
          const timer = setTimeout(() => fail(`not within ${DEADLINE_MS} ms`), DEADLINE_MS);
          const done = (): void => {
            clearTimeout(timer);
            watchers.delete(watcher);
          };
          const fail = (why: string): void => {
            done();
            reject(
              new Error(`no ${what} from ${file}: ${why}\n${lines.map((line) => JSON.stringify(line)).join("\n")}`),
            );
          };
          const watcher = (): void => {
            const found = look();
            if (found !== undefined) {
              done();
              resolve(found);
            } else if (over !== undefined) fail(over);
          };
          watchers.add(watcher);
          watcher();
        });
      return {
        pid: child.pid ?? 0,
        next: (event) =>
          until(event, () => {
            const found = lines.find((line) => line.event === event && !taken.has(line));
            if (found !== undefined) taken.add(found);
            return found;
          }),
        port: (name) => until(`listener ${name}`, () => ports.get(name)),
        signal: (kind) => void child.kill(kind),
        ended,
      };
    },
    command(...args) {
      return start(args, () => undefined)[1];
    },
    async close() {
      process.removeListener("exit", killAll);
      killAll();
      await Promise.all(running.values());
    },
  };
}

/** Lines that are no log entries (what is printed before the log exists) are only in `stderr`. */
function parseLine(line: string): LogLine | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && "event" in value ? (value as LogLine) : undefined;
  } catch {
    return undefined;
  }
}

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(":") + 1));
}
