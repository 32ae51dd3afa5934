// From the rounds to what the tables show: medians, and Countersign's ratio to each peer.
import type { PeerResult, Sample } from "./measure.ts";
import { median } from "./statistics.ts";
import type { Workload } from "./workloads.ts";

/** Medians over the rounds. For TCP a unit is a byte. */
export interface PeerSummary {
  readonly peer: string;
  /** CPU of both hops, halved, for one unit. */
  readonly cpuSecondsPerUnitAndHop: number;
  readonly unitsPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** Of the larger hop. */
  readonly peakRssBytes: number;
  /** Sum over the rounds. */
  readonly errors: number;
  readonly missingLogLines: number;
  /** Countersign's figure divided by this peer's; undefined when Countersign was not measured. */
  readonly cpuRatio: number | undefined;
  readonly p99Ratio: number | undefined;
}

export interface WorkloadSummary {
  readonly workload: Workload;
  readonly peers: readonly PeerSummary[];
}

export function summarize(workload: Workload, results: readonly PeerResult[]): WorkloadSummary {
  const own = results.find(({ peer }) => peer === "countersign");
  const ownCpu = own && median(own.samples.map(cpuPerUnitAndHop));
  const ownP99 = own && median(own.samples.map(({ p99Us }) => p99Us));
  const peers = results.map(({ peer, samples, missingLogLines }): PeerSummary => {
    const cpu = median(samples.map(cpuPerUnitAndHop));
    const p99Us = median(samples.map((sample) => sample.p99Us));
    return {
      peer,
      cpuSecondsPerUnitAndHop: cpu,
      unitsPerSecond: median(samples.map(({ units, seconds }) => units / seconds)),
      p50Us: median(samples.map(({ p50Us }) => p50Us)),
      p99Us,
      peakRssBytes: median(
        samples.map(({ outboundPeakRssBytes, inboundPeakRssBytes }) =>
          Math.max(outboundPeakRssBytes, inboundPeakRssBytes),
        ),
      ),
      errors: samples.reduce((sum, { errors }) => sum + errors, 0),
      missingLogLines,
      cpuRatio: ownCpu === undefined ? undefined : ownCpu / cpu,
      p99Ratio: ownP99 === undefined || p99Us === 0 ? undefined : ownP99 / p99Us,
    };
  });
  return { workload, peers };
}

function cpuPerUnitAndHop({ units, outboundCpuSeconds, inboundCpuSeconds }: Sample): number {
  return (outboundCpuSeconds + inboundCpuSeconds) / 2 / units;
}
