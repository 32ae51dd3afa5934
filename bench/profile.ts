// `npm run profile`: where the CPU time of Countersign's two hops goes, by cost class, under a workload of the benchmark.
// Needs perf (apt-get install linux-perf).
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type CostClass, costClasses, costClassOf } from "./cost-classes.ts";
import { createIdentities } from "./identities.ts";
import { runLoad } from "./load.ts";
import { startPeer } from "./measure.ts";
import { startOrigin } from "./origins.ts";
import { countersignWith } from "./peers/countersign.ts";
import type { Hop } from "./peers/peer.ts";
import { freePorts } from "./ports.ts";
import { type Children, createChildren } from "./processes.ts";
import { findTools, missingFor, type Tools } from "./tools.ts";
import { type Workload, workloads } from "./workloads.ts";

const mainWorkloads = "http1-c32,http2-8x16";
/** Before the samples: what was not yet compiled would be what is seen. */
const warmUpSeconds = 4;
/** A prime, so that samples do not fall in step with timers. */
const samplesPerSecond = 997;

async function main(argv: readonly string[], signal: AbortSignal): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      workloads: { type: "string", default: mainWorkloads },
      seconds: { type: "string", default: "5" },
      symbols: { type: "string", default: "0" },
    },
  });
  const seconds = Number(values.seconds);
  const chosen = values.workloads.split(",").map((wanted) => {
    const found = workloads.find(({ name }) => name === wanted);
    if (found === undefined) throw new Error(`no workload ${wanted}`);
    return found;
  });
  const dir = mkdtempSync(join(tmpdir(), "countersign-profile-"));
  process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
  await using children = createChildren(signal);
  const tools = await findTools(children, chosen, dir);
  const peer = countersignWith(["--perf-basic-prof", "--interpreted-frames-native-stack"]);
  await peer.find(children); // builds it
  for (const workload of chosen) {
    const missing = missingFor(workload, tools);
    if (missing !== undefined) throw new Error(`${workload.name}: ${missing}`);
    const samples = await sample(children, workload, tools, join(dir), seconds);
    process.stdout.write(`${table(workload, samples, Number(values.symbols))}\n`);
  }

  async function sample(
    all: Children,
    workload: Workload,
    found: Tools,
    parent: string,
    length: number,
  ): Promise<readonly string[]> {
    const place = mkdtempSync(join(parent, `${workload.name}-`));
    const [app = 0] = await freePorts(1);
    await startOrigin(all, workload, found, place, app);
    const identities = createIdentities(join(place, "identities"));
    const { mesh, outbound, inbound } = await startPeer(peer, place, app, workload, identities, all);
    const { outbound: port } = mesh.ports;
    await runLoad(all, workload, found, place, port, warmUpSeconds);
    const data = join(place, "perf.data");
    const perf = await all.start("perf", "perf", [
      "record",
      "--quiet",
      "--event=cpu-clock",
      `--freq=${samplesPerSecond}`,
      `--output=${data}`,
      `--pid=${outbound.child.pid},${inbound.child.pid}`,
      "sleep",
      `${length}`,
    ]);
    await runLoad(all, workload, found, place, port, length + 1);
    const { code } = await perf.ended;
    if (code !== 0) throw new Error(`perf could not record: ${perf.stderrTail()}`);
    const lines = await all.run("perf", "perf", ["script", "-i", data, "-F", "ip,sym,dso"], 60_000);
    for (const hop of [outbound, inbound]) await end(hop);
    return lines.split("\n").filter((line) => line.trim() !== "");
  }
}

async function end({ child }: Hop): Promise<void> {
  await child.stop();
  rmSync(`/tmp/perf-${child.pid}.map`, { force: true }); // V8 writes it there, and perf looks there
}

/** One line of perf script: an address, a symbol that may hold spaces, and its file in brackets. */
function readSample(line: string): { readonly symbol: string; readonly file: string } {
  const [, symbol = "", file = ""] = /^\s*[0-9a-f]+ (.*) \(([^()]*(?:\([^()]*\))?)\)$/.exec(line) ?? [];
  return { symbol: symbol.replace(/\+0x[0-9a-f]+$/, ""), file };
}

function table(workload: Workload, lines: readonly string[], symbols: number): string {
  const counts = new Map<CostClass, number>();
  const names = new Map<string, number>();
  for (const { symbol, file } of lines.map(readSample)) {
    const kind = costClassOf(symbol, file);
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    const name = `${kind}: ${symbol}`;
    names.set(name, (names.get(name) ?? 0) + 1);
  }
  const share = (count: number): string => `${((count / lines.length) * 100).toFixed(1)} %`;
  const rows = costClasses.map((kind) => `| ${kind} | ${share(counts.get(kind) ?? 0)} |`);
  const top = Array.from(names).toSorted(([, a], [, b]) => b - a);
  return [
    `### ${workload.name}: ${workload.summary} (${lines.length} samples)`,
    "",
    "| CPU time goes to | share |",
    "|---|---:|",
    ...rows,
    "",
    ...top.slice(0, symbols).map(([name, count]) => `- ${share(count)} ${name}`),
  ].join("\n");
}

const stop = new AbortController();
for (const kind of ["SIGINT", "SIGTERM"] as const)
  process.once(kind, () => stop.abort(new Error(`stopped by ${kind}; nothing is left running`)));
try {
  await main(process.argv.slice(2), stop.signal);
} catch (error) {
  for (let current: unknown = error; current instanceof Error; current = current.cause)
    console.error(`profile: ${current.message}`);
  process.exitCode = 2;
}
