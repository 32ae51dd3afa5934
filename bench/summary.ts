// From the rounds to what the tables show: medians, and Countersign's ratio to each peer.
import type { Sample, WorkloadResult } from "./measure.ts";
import { median } from "./statistics.ts";
import type { Workload } from "./workloads.ts";

/** Medians over the rounds. */
export interface PeerSummary {
  readonly peer: string;
  /** CPU of both hops, halved, for one unit. */
  readonly cpuSecondsPerUnitAndHop: number;
  readonly unitsPerSecond: number;
  /** At a fixed rate: what the two hops add to the origin's own. */
  readonly p50Us: number;
  readonly p99Us: number;
  /** Of the larger hop. */
  readonly peakRssBytes: number;
  /** Sum over the rounds. */
  readonly errors: number;
  readonly missingLogLines: number;
  /** Countersign's figure divided by this peer's; undefined when Countersign was not measured. */
  readonly cpuRatio: number | undefined;
  readonly p50Ratio: number | undefined;
  readonly p99Ratio: number | undefined;
}

export interface WorkloadSummary {
  readonly workload: Workload;
  readonly peers: readonly PeerSummary[];
}

export function summarize(workload: Workload, { peers: results, direct }: WorkloadResult): WorkloadSummary {
  const directP50 = direct.length === 0 ? 0 : median(direct.map(({ p50Us }) => p50Us));
  const directP99 = direct.length === 0 ? 0 : median(direct.map(({ p99Us }) => p99Us));
  const peers = results.map(({ peer, samples, missingLogLines }) => ({
    peer,
    cpuSecondsPerUnitAndHop: median(samples.map(cpuPerUnitAndHop)),
    unitsPerSecond: median(samples.map(({ units, seconds }) => units / seconds)),
    p50Us: median(samples.map(({ p50Us }) => p50Us)) - directP50,
    p99Us: median(samples.map(({ p99Us }) => p99Us)) - directP99,
    peakRssBytes: median(
      samples.map(({ outboundPeakRssBytes, inboundPeakRssBytes }) =>
        Math.max(outboundPeakRssBytes, inboundPeakRssBytes),
      ),
    ),
    errors: samples.reduce((sum, { errors }) => sum + errors, 0),
    missingLogLines,
  }));
  const own = peers.find(({ peer }) => peer === "countersign");
  return {
    workload,
    peers: peers.map((peer) => ({
      ...peer,
      cpuRatio: ratio(own?.cpuSecondsPerUnitAndHop, peer.cpuSecondsPerUnitAndHop),
      p50Ratio: ratio(own?.p50Us, peer.p50Us),
      p99Ratio: ratio(own?.p99Us, peer.p99Us),
    })),
  };
}

function ratio(own: number | undefined, other: number): number | undefined {
  return own === undefined || other <= 0 ? undefined : own / other;
}

function cpuPerUnitAndHop({ units, outboundCpuSeconds, inboundCpuSeconds }: Sample): number {
  return (outboundCpuSeconds + inboundCpuSeconds) / 2 / units;
}
