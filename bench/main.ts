// `npm run bench`: Countersign beside HAProxy, nginx and Envoy, all in one run on this machine. See docs/performance.md.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { barsOf, isMissed } from "./bars.ts";
import { createIdentities } from "./identities.ts";
import { measureWorkload, type PeerResult } from "./measure.ts";
import { type BenchOptions, parseOptions, usage } from "./options.ts";
import type { Found, Peer } from "./peers/peer.ts";
import { versionOf } from "./peers/peer.ts";
import { createChildren } from "./processes.ts";
import { summarize, type WorkloadSummary } from "./summary.ts";
import { barsTable, workloadTable } from "./table.ts";

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
  const installed = await findPeers(options, signal);
  if (installed.length === 0) throw new Error("no peer to measure");
  const dir = mkdtempSync(join(tmpdir(), "countersign-bench-"));
  const removeDir = (): void => rmSync(dir, { recursive: true, force: true });
  process.on("exit", removeDir);
  const startedAt = new Date();
  const identities = createIdentities(join(dir, "identities"));
  const format = options.markdown ? "markdown" : "text";
  const summaries: WorkloadSummary[] = [];
  const raw: { readonly workload: string; readonly results: readonly PeerResult[] }[] = [];
  process.stdout.write(`${heading(options, installed, startedAt)}\n`);
  for (const workload of options.workloads) {
    const able = installed.filter(({ found }) => workload.kind === "http" || found.tcp);
    for (const { peer, found } of installed)
      if (workload.kind === "tcp" && !found.tcp) say(`${workload.name}: skipping ${peer.name}: ${found.tcpHint ?? ""}`);
    const peers = able.map(({ peer }) => peer);
    const results = await measureWorkload(workload, peers, options, identities, dir, signal, say);
    raw.push({ workload: workload.name, results });
    const summary = summarize(workload, results);
    summaries.push(summary);
    process.stdout.write(`${workloadTable(summary, format)}\n`);
  }
  const bars = barsOf(summaries);
  if (bars.some(({ measured }) => measured !== undefined)) process.stdout.write(barsTable(bars, format));
  if (options.json !== undefined) {
    const { seconds, rounds, warmUpSeconds } = options;
    const versions = Object.fromEntries(installed.map(({ peer, found }) => [peer.name, found.version]));
    const plan = { seconds, rounds, warmUpSeconds };
    const report = { startedAt, machine: machine(), versions, plan, raw, summaries, bars };
    writeFileSync(options.json, `${JSON.stringify(report, undefined, 2)}\n`);
  }
  return options.check && bars.some(isMissed) ? 1 : 0;
}

async function findPeers(options: BenchOptions, signal: AbortSignal): Promise<Installed[]> {
  await using children = createChildren(signal);
  // wrk -v exits 1 like wrk without arguments, so its presence is asked for by a run that ends at once.
  const needsWrk = options.workloads.some(({ kind }) => kind === "http");
  if (needsWrk && (await versionOf(children, "sh", ["-c", "command -v wrk"])) === undefined)
    throw new Error("the load generator is not installed: apt-get install wrk");
  const installed: Installed[] = [];
  for (const peer of options.peers) {
    const found = await peer.find(children);
    if (found.kind === "found") installed.push({ peer, found });
    else say(`skipping ${peer.name}, which is not installed: ${found.hint}`);
  }
  return installed;
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
