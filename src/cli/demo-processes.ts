import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { CountersignError } from "../core/errors.ts";

/** A process of the demo. */
export interface DemoProcess {
  readonly name: string;
  /** Resolves with the first line of stdout. */
  firstLine(): Promise<string>;
  /** Resolves with the first log record, old or new, that has this event and fits. Rejects when the process ends or after 20 s. */
  event(event: string, fits?: (record: LogRecord) => boolean): Promise<LogRecord>;
  /** Log records with this event so far. */
  count(event: string): number;
  /** SIGTERM, then SIGKILL after 5 s. */
  stop(): Promise<void>;
}

export type LogRecord = Readonly<Record<string, unknown>>;

const EVENT_TIMEOUT_MS = 20_000;
const KILL_AFTER_MS = 5000;
const KEPT_LINES = 20;

/** Starts `node script …` with `node` under a name of its own, so that the issuer can tell the demo's roles apart. */
export function startDemoProcess(name: string, node: string, args: readonly string[]): DemoProcess {
  const child: ChildProcess = spawn(node, args, { stdio: ["ignore", "pipe", "pipe"] });
  const records: LogRecord[] = [];
  const lines: string[] = [];
  const output: string[] = [];
  const watchers = new Set<() => void>();
  let ended = false;
  const tell = (): void => {
    for (const watcher of watchers) watcher();
  };
  const { stdout, stderr } = child;
  if (stdout === null || stderr === null) throw new TypeError("a demo process needs its pipes");
  createInterface({ input: stdout }).on("line", (line) => {
    output.push(line);
    tell();
  });
  createInterface({ input: stderr }).on("line", (line) => {
    lines.push(line);
    if (lines.length > KEPT_LINES) lines.shift();
    const record = parseRecord(line);
    if (record !== undefined) records.push(record);
    tell();
  });
  const end = (): void => {
    ended = true;
    tell();
  };
  child.once("exit", end);
  child.once("error", end);
  const wait = <T>(look: () => T | undefined, what: string): Promise<T> =>
    new Promise((resolve, reject) => {
      const finish = (then: () => void): void => {
        watchers.delete(watcher);
        clearTimeout(timer);
        then();
      };
      const fail = (why: string): void => {
        const said = lines.length === 0 ? "" : `; it said:\n${lines.join("\n")}`;
        finish(() => reject(new CountersignError("E_DEMO", `${name} ${why} before ${what}${said}`)));
      };
      const watcher = (): void => {
        const value = look();
        if (value !== undefined) finish(() => resolve(value));
        else if (ended) fail("ended");
      };
      const timer = setTimeout(() => fail("took too long"), EVENT_TIMEOUT_MS);
      watchers.add(watcher);
      watcher();
    });
  return {
    name,
    firstLine: () => wait(() => output[0], "its first line"),
    event: (event, fits = () => true) =>
      wait(() => records.find((record) => record["event"] === event && fits(record)), `its ${event} event`),
    count: (event) => records.filter((record) => record["event"] === event).length,
    stop: async () => {
      if (ended) return;
      child.kill("SIGTERM");
      const killer = setTimeout(() => child.kill("SIGKILL"), KILL_AFTER_MS);
      await new Promise<void>((resolve) => {
        if (ended) resolve();
        else child.once("exit", () => resolve());
      });
      clearTimeout(killer);
    },
  };
}

function parseRecord(line: string): LogRecord | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as LogRecord) : undefined;
  } catch {
    return undefined;
  }
}
