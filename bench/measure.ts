// One workload, all peers: each is started afresh, checked, warmed up, then measured in rounds that take turns (A B C,
// A B C, …), so that what else the machine does meets all of them alike.
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { countLogLines } from "./access-log.ts";
import type { BenchIdentities } from "./identities.ts";
import { type LoadReport, runTcpSender, runWrk } from "./load.ts";
import type { Hop, Mesh, Peer } from "./peers/peer.ts";
import { freePorts, isListening } from "./ports.ts";
import { type Children, createChildren, waitUntilReady } from "./processes.ts";
import { resetPeakRss, treeCpuSeconds, treePeakRssBytes } from "./procfs.ts";
import { checkMesh, checkOutboundRefusesImpostor } from "./self-check.ts";
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

export interface Plan {
  /** Seconds of one round, whole. */
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly rounds: number;
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
  plan: Plan,
  identities: BenchIdentities,
  parentDir: string,
  signal: AbortSignal,
  progress: (text: string) => void,
): Promise<PeerResult[]> {
  const dir = join(parentDir, workload.name);
  mkdirSync(dir);
  try {
    await using children = createChildren(signal);
    const [appHttp = 0, appTcp = 0] = await freePorts(2);
    const originProgram = join(import.meta.dirname, "origin.ts");
    const origin = await children.start("origin", process.execPath, [originProgram, `${appHttp}`, `${appTcp}`]);
    await waitUntilReady(origin, async () => (await isListening(appHttp)) && (await isListening(appTcp)), 10_000);
    const started: Started[] = [];
    for (const peer of peers) {
      progress(`${workload.name}: starting and checking ${peer.name}`);
      const peerDir = join(dir, peer.name);
      mkdirSync(peerDir);
      started.push(await startPeer(peer, peerDir, { appHttp, appTcp }, identities, workload, children));
    }
    for (const entry of started) {
      progress(`${workload.name}: warming up ${entry.peer.name}`);
      const report = await load(children, workload, entry.mesh, plan.warmUpSeconds);
      entry.answered += callsOf(workload, report);
    }
    for (let round = 1; round <= plan.rounds; round++)
      for (const entry of started) {
        progress(`${workload.name}: round ${round} of ${plan.rounds}, ${entry.peer.name}`);
        await measureRound(children, workload, entry, plan.seconds);
      }
    const results: PeerResult[] = [];
    for (const { peer, outbound, inbound, answered, samples } of started) {
      await Promise.all([outbound.child.stop(), inbound.child.stop()]); // writes out what is buffered
      const lines = await Promise.all([countLogLines(outbound), countLogLines(inbound)]);
      results.push({ peer: peer.name, samples, missingLogLines: Math.max(0, answered - Math.min(...lines)) });
    }
    return results;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

async function startPeer(
  peer: Peer,
  dir: string,
  app: { readonly appHttp: number; readonly appTcp: number },
  identities: BenchIdentities,
  workload: Workload,
  children: Children,
): Promise<Started> {
  const [outboundHttp = 0, outboundTcp = 0, inboundHttp = 0, inboundTcp = 0] = await freePorts(4);
  const ports = { ...app, outboundHttp, outboundTcp, inboundHttp, inboundTcp };
  const mesh: Mesh = { dir, identities, ports, tcp: workload.kind === "tcp" };
  try {
    const outbound = await peer.start("outbound", mesh, children);
    await checkOutboundRefusesImpostor(mesh);
    const inbound = await peer.start("inbound", mesh, children);
    await checkMesh(mesh);
    return { peer, mesh, outbound, inbound, samples: [], answered: 0 };
  } catch (error) {
    throw new Error(`${peer.name}: the set-up does not hold`, { cause: error });
  }
}

async function measureRound(children: Children, workload: Workload, entry: Started, seconds: number): Promise<void> {
  const outbound = entry.outbound.child.pid;
  const inbound = entry.inbound.child.pid;
  resetPeakRss(outbound);
  resetPeakRss(inbound);
  const before = [treeCpuSeconds(outbound), treeCpuSeconds(inbound)] as const;
  const report = await load(children, workload, entry.mesh, seconds);
  entry.answered += callsOf(workload, report);
  entry.samples.push({
    ...report,
    outboundCpuSeconds: treeCpuSeconds(outbound) - before[0],
    inboundCpuSeconds: treeCpuSeconds(inbound) - before[1],
    outboundPeakRssBytes: treePeakRssBytes(outbound),
    inboundPeakRssBytes: treePeakRssBytes(inbound),
  });
}

function load(children: Children, workload: Workload, mesh: Mesh, seconds: number): Promise<LoadReport> {
  return workload.kind === "http"
    ? runWrk(children, workload, mesh.ports.outboundHttp, seconds)
    : runTcpSender(children, workload, mesh.ports.outboundTcp);
}

function callsOf(workload: Workload, report: LoadReport): number {
  return workload.kind === "http" ? report.units : 1;
}
