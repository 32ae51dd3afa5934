// The limits that Countersign holds itself to, read from one run's summaries.
import type { PeerSummary, WorkloadSummary } from "./summary.ts";

export interface Bar {
  readonly text: string;
  /** What was measured; undefined when the run did not measure what the bar needs. */
  readonly measured: number | undefined;
  readonly limit: number;
}

/** All of them speak of 32 connections with HTTP/1.1 on every hop. */
export function barsOf(summaries: readonly WorkloadSummary[]): Bar[] {
  const peers = summaries.find(({ workload }) => workload.name === "http1-c32")?.peers ?? [];
  const named = (name: string): PeerSummary | undefined => peers.find(({ peer }) => peer === name);
  const own = named("countersign");
  return [
    { text: "CPU per request and hop ÷ HAProxy's", measured: named("haproxy")?.cpuRatio, limit: 1.8 },
    { text: "CPU per request and hop ÷ Envoy's", measured: named("envoy")?.cpuRatio, limit: 0.6 },
    { text: "p99 latency ÷ Envoy's", measured: named("envoy")?.p99Ratio, limit: 1 },
    { text: "peak RSS of a hop, MB", measured: own && own.peakRssBytes / 1e6, limit: 110 },
  ];
}

export function isMissed({ measured, limit }: Bar): boolean {
  return measured !== undefined && measured > limit;
}
