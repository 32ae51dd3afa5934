// One workload, all peers: each is started afresh, checked, warmed up, then measured in rounds that take turns (A B C,
// A B C, …), so that what else the machine does meets all of them alike.
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { countLogLines } from "./access-log.ts";
import type { BenchIdentities } from "./identities.ts";
import { runLoad } from "./load.ts";
import type { LoadReport } from "./load-report.ts";
import { startOrigin } from "./origins.ts";
import type { Hop, Mesh, Peer } from "./peers/peer.ts";
import { freePorts } from "./ports.ts";
import { type Children, createChildren } from "./processes.ts";
import { resetPeakRss, treeCpuSeconds, treePeakRssBytes } from "./procfs.ts";
import { checkMesh, checkOutboundRefusesImpostor } from "./self-check.ts";
import type { Tools } from "./tools.ts";
import type { Workload } from "./workloads.ts";

/** One round of one peer. */
export interface Sample extends LoadReport {
  /** Of the hop's whole process tree, over the round. */
  readonly outboundCpuSeconds: number;
  readonly inboundCpuSeconds: number;
  readonly outboundPeakRssBytes: number;
  readonly inboundPeakRssBytes: number;
}

export interface PeerResult {
  readonly peer: string;
  readonly samples: readonly Sample[];
  /** Calls that were answered but have no line in the access log of a hop; 0 is right. */
  readonly missingLogLines: number;
}

export interface WorkloadResult {
  readonly peers: readonly PeerResult[];
  /** Loads at a fixed rate, straight to the origin in the same rounds: what is to be subtracted from latencies. */
  readonly direct: readonly LoadReport[];
}

export interface Plan {
  /** Seconds of one round, whole. */
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly rounds: number;
}

/** What a run shares over all of its workloads. */
export interface RunContext {
  readonly plan: Plan;
  readonly identities: BenchIdentities;
  readonly tools: Tools;
  readonly dir: string;
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
}

interface Started {
  readonly peer: Peer;
  readonly mesh: Mesh;
  readonly outbound: Hop;
  readonly inbound: Hop;
  readonly samples: Sample[];
  answered: number;
}

export async function measureWorkload(
  workload: Workload,
  peers: readonly Peer[],
  context: RunContext,
): Promise<WorkloadResult> {
  const { plan, tools, progress } = context;
  const dir = join(context.dir, workload.name);
  mkdirSync(dir);
  try {
    await using children = createChildren(context.signal);
    const load = (port: number, seconds: number): Promise<LoadReport> =>
      runLoad(children, workload, tools, dir, port, seconds);
    const [app = 0] = await freePorts(1);
    await startOrigin(children, workload, tools, dir, app);
    const started: Started[] = [];
    for (const peer of peers) {
      progress(`${workload.name}: starting and checking ${peer.name}`);
      started.push(await startPeer(peer, dir, app, workload, context.identities, children));
    }
    for (const entry of started) {
      progress(`${workload.name}: warming up ${entry.peer.name}`);
      entry.answered += (await load(entry.mesh.ports.outbound, plan.warmUpSeconds)).calls;
    }
    const direct: LoadReport[] = [];
    for (let round = 1; round <= plan.rounds; round++) {
      if (isAtFixedRate(workload)) direct.push(await load(app, plan.seconds));
      for (const entry of started) {
        progress(`${workload.name}: round ${round} of ${plan.rounds}, ${entry.peer.name}`);
        await measureRound(entry, () => load(entry.mesh.ports.outbound, plan.seconds));
      }
    }
    const results: PeerResult[] = [];
    for (const { peer, outbound, inbound, answered, samples } of started) {
      await Promise.all([outbound.child.stop(), inbound.child.stop()]); // writes out what is buffered
      const lines = await Promise.all([countLogLines(outbound), countLogLines(inbound)]);
      results.push({ peer: peer.name, samples, missingLogLines: Math.max(0, answered - Math.min(...lines)) });
    }
    return { peers: results, direct };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function isAtFixedRate({ load }: Workload): boolean {
  return load.kind === "h2load" && load.rate !== undefined;
}

export async function startPeer(
  peer: Peer,
  parentDir: string,
  app: number,
  { wire }: Pick<Workload, "wire">,
  identities: BenchIdentities,
  children: Children,
): Promise<Started> {
  const dir = join(parentDir, peer.name);
  mkdirSync(dir);
  const [outboundPort = 0, inboundPort = 0] = await freePorts(2);
  const mesh: Mesh = { dir, identities, ports: { app, outbound: outboundPort, inbound: inboundPort }, wire };
  try {
    const outbound = await peer.start("outbound", mesh, children);
    await checkOutboundRefusesImpostor(mesh);
    const inbound = await peer.start("inbound", mesh, children);
    await checkMesh(mesh, peer.isMultiplexed);
    return { peer, mesh, outbound, inbound, samples: [], answered: 0 };
  } catch (error) {
    throw new Error(`${peer.name}: the set-up does not hold`, { cause: error });
  }
}

async function measureRound(entry: Started, load: () => Promise<LoadReport>): Promise<void> {
  const outbound = entry.outbound.child.pid;
  const inbound = entry.inbound.child.pid;
  resetPeakRss(outbound);
  resetPeakRss(inbound);
  const before = [treeCpuSeconds(outbound), treeCpuSeconds(inbound)] as const;
  const report = await load();
  entry.answered += report.calls;
  entry.samples.push({
    ...report,
    outboundCpuSeconds: treeCpuSeconds(outbound) - before[0],
    inboundCpuSeconds: treeCpuSeconds(inbound) - before[1],
    outboundPeakRssBytes: treePeakRssBytes(outbound),
    inboundPeakRssBytes: treePeakRssBytes(inbound),
  });
}
