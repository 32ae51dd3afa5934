// Starts the built program as a user does: `countersign run -c FILE`, by the package's own Node.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Child, type Children, waitUntilReady } from "../../bench/processes.ts";
import { inspectorFlag, readInspectorUrl } from "./live-memory.ts";

const root = join(import.meta.dirname, "..", "..");
const bundledCli = ["--disable-warning=ExperimentalWarning", join(root, "dist", "countersign.mjs")];

export async function buildCli(children: Children): Promise<void> {
  await children.run("build", process.execPath, [join(root, "tools", "build.mjs")], 60_000);
}

export interface LogEvent {
  readonly event: string;
  /** When this process read the line, by performance.now(). */
  readonly atMs: number;
  /** Of the SVID, in `identity.*`. */
  readonly serial: string | undefined;
  /** Wall clock of the sidecar, milliseconds. */
  readonly timeMs: number;
}

export interface Sidecar {
  readonly child: Child;
  readonly auditFile: string;
  /** Lines of its log that have an `event`, growing. */
  readonly events: readonly LogEvent[];
  /** Where its inspector listens, if it has one. */
  readonly inspectorUrl: string | undefined;
}

export interface SidecarOptions {
  readonly name: string;
  readonly dir: string;
  /** Everything of countersign.yaml but `audit`, which goes to a file in `dir`. */
  readonly config: object;
  /** The Node to run it with: a path of its own lets an issuer tell sidecars of one user apart. */
  readonly node?: string;
  /** With V8's inspector. */
  readonly inspect?: boolean;
}

/** Returns when the log says `ready`. */
export async function startSidecar(children: Children, options: SidecarOptions): Promise<Sidecar> {
  const { name, dir, config, node = process.execPath, inspect = false } = options;
  const file = join(dir, `${name}.yaml`);
  const auditFile = join(dir, `${name}-audit.jsonl`);
  const audit = { sinks: [{ file: { path: auditFile, rotate: { size: "10GiB" } } }] };
  writeFileSync(file, JSON.stringify({ ...config, audit }, undefined, 2));
  const events: LogEvent[] = [];
  let inspectorUrl: string | undefined;
  const flags = inspect ? [inspectorFlag] : [];
  const child = await children.start(name, node, [...flags, ...bundledCli, "run", "-c", file], {
    onStderrLine: (line) => {
      inspectorUrl = readInspectorUrl(line) ?? inspectorUrl; // the last: it replaces itself by a process with flags
      const event = eventOf(line);
      if (event !== undefined) events.push({ ...event, atMs: performance.now() });
    },
  });
  await waitUntilReady(child, () => events.some(({ event }) => event === "ready"), 20_000);
  return { child, auditFile, events, inspectorUrl };
}

export async function startIssuer(children: Children, dir: string, config: object): Promise<Child> {
  const file = join(dir, "issuer.yaml");
  writeFileSync(file, JSON.stringify(config, undefined, 2));
  return children.start("issuer", process.execPath, [...bundledCli, "issuer", "run", "-c", file]);
}

function eventOf(line: string): Omit<LogEvent, "atMs"> | undefined {
  const event = /"event":"([a-z.]+)"/.exec(line)?.[1];
  if (event === undefined) return undefined;
  const serial = /"serial":"([0-9a-f]+)"/.exec(line)?.[1];
  return { event, serial, timeMs: Date.parse(/"time":"([^"]+)"/.exec(line)?.[1] ?? "") };
}
