// `npm run bench`: Countersign beside HAProxy, nginx, Envoy and ghostunnel, all in one run on this machine. See
// docs/performance.md.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { cpuBarsOf, isMissed, otherBarsOf } from "./bars.ts";
import { type Footprint, measureFootprint } from "./footprint.ts";
import { createIdentities } from "./identities.ts";
import { measureWorkload, type RunContext, type WorkloadResult } from "./measure.ts";
import { type BenchOptions, parseOptions, usage } from "./options.ts";
import type { Found, Peer } from "./peers/peer.ts";
import { createChildren } from "./processes.ts";
import { summarize, type WorkloadSummary } from "./summary.ts";
import { cpuBarsTable, footprintTable, otherBarsTable, workloadTable } from "./table.ts";
import { findTools, missingFor, type Tools } from "./tools.ts";

interface Installed {
  readonly peer: Peer;
  readonly found: Extract<Found, { kind: "found" }>;
}

const say = (text: string): void => void process.stderr.write(`bench: ${text}\n`);

async function main(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const options = parseOptions(argv);
  if (options === undefined) {
    process.stdout.write(usage);
    return 0;
  }
  const dir = mkdtempSync(join(tmpdir(), "countersign-bench-"));
  process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
  const { installed, tools } = await findPrograms(options, dir, signal);
  const startedAt = new Date();
  const identities = createIdentities(join(dir, "identities"));
  const context: RunContext = { plan: options, identities, tools, dir, signal, progress: say };
  const format = options.markdown ? "markdown" : "text";
  const print = (text: string): void => void process.stdout.write(`${text}\n`);
  const summaries: WorkloadSummary[] = [];
  const raw: { readonly workload: string; readonly results: WorkloadResult }[] = [];
  print(heading(options, installed, startedAt));
  for (const workload of options.workloads) {
    const missing = missingFor(workload, tools);
    if (missing !== undefined) {
      say(`skipping ${workload.name}: ${missing}`);
      continue;
    }
    const able = installed.filter(({ found }) => found.cannot?.[workload.wire] === undefined);
    for (const { peer, found } of installed)
      if (!able.some((other) => other.peer === peer))
        say(`${workload.name}: skipping ${peer.name}: ${found.cannot?.[workload.wire] ?? ""}`);
    const peers = able.map(({ peer }) => peer);
    const results = await measureWorkload(workload, peers, context);
    raw.push({ workload: workload.name, results });
    const summary = summarize(workload, results);
    summaries.push(summary);
    print(workloadTable(summary, format));
  }
  const footprints: Footprint[] = [];
  if (options.footprint) {
    for (const { peer, found } of installed) {
      if (found.cannot?.http1 !== undefined) continue;
      say(`footprint: ${peer.name}`);
      footprints.push(await measureFootprint(peer, context));
    }
    print(footprintTable(footprints, format));
  }
  const cpuBars = cpuBarsOf(summaries);
  const otherBars = otherBarsOf(summaries, footprints);
  if (cpuBars.length > 0) print(cpuBarsTable(cpuBars, format));
  if (otherBars.length > 0) print(otherBarsTable(otherBars, format));
  if (options.json !== undefined) {
    const { seconds, rounds, warmUpSeconds } = options;
    const versions = Object.fromEntries(installed.map(({ peer, found }) => [peer.name, found.version]));
    const plan = { seconds, rounds, warmUpSeconds };
    const report = { startedAt, machine: machine(), versions, plan, raw, summaries, footprints, cpuBars, otherBars };
    writeFileSync(options.json, `${JSON.stringify(report, undefined, 2)}\n`);
  }
  const bars = [...cpuBars.flatMap(({ cells }) => Object.values(cells)), ...otherBars];
  return options.check && bars.some(isMissed) ? 1 : 0;
}

async function findPrograms(
  options: BenchOptions,
  dir: string,
  signal: AbortSignal,
): Promise<{ readonly installed: readonly Installed[]; readonly tools: Tools }> {
  await using children = createChildren(signal);
  const installed: Installed[] = [];
  for (const peer of options.peers) {
    const found = await peer.find(children);
    if (found.kind === "found") installed.push({ peer, found });
    else say(`skipping ${peer.name}, which is not installed: ${found.hint}`);
  }
  if (installed.length === 0) throw new Error("no peer to measure");
  return { installed, tools: await findTools(children, options.workloads, dir) };
}

function machine(): { readonly cpu: string; readonly cores: number; readonly kernel: string } {
  return { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism(), kernel: release() };
}

function heading(options: BenchOptions, installed: readonly Installed[], startedAt: Date): string {
  const { cpu, cores, kernel } = machine();
  const versions = installed.map(({ peer, found }) => `${peer.name} ${found.version}`).join(", ");
  const { rounds, seconds, warmUpSeconds } = options;
  return [
    `${startedAt.toISOString().slice(0, 10)}, ${cores} × ${cpu}, Linux ${kernel}, Node ${process.version}.`,
    `${versions}.`,
    `Medians of ${rounds} rounds of ${seconds} s, after ${warmUpSeconds} s of warm-up.`,
    "",
  ].join("\n");
}

const stop = new AbortController();
for (const kind of ["SIGINT", "SIGTERM"] as const)
  process.once(kind, () => stop.abort(new Error(`stopped by ${kind}; nothing is left running`)));
try {
  process.exitCode = await main(process.argv.slice(2), stop.signal);
} catch (error) {
  // What fails after an interruption fails because of it.
  const first: unknown = stop.signal.aborted ? stop.signal.reason : error;
  for (let current = first; current instanceof Error; current = current.cause) say(current.message);
  process.exitCode = 2;
}
