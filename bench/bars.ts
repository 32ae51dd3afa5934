// The limits that Countersign holds itself to, read from one run's summaries.
import type { Footprint } from "./footprint.ts";
import type { PeerSummary, WorkloadSummary } from "./summary.ts";

/** One ratio of CPU per unit and hop, or another figure, beside its limit. */
export interface Bar {
  /** What was measured; undefined when the run did not measure what the bar needs. */
  readonly measured: number | undefined;
  readonly limit: number;
}

/** Columns of the table of CPU ratios: the peer as it is usually set up, and told to use HTTP/2 between its hops. */
export const barColumns = ["haproxy", "haproxy-mux", "envoy", "envoy-mux"] as const;
type BarColumn = (typeof barColumns)[number];

export interface CpuBarRow {
  readonly work: string;
  readonly cells: Readonly<Partial<Record<BarColumn, Bar & { readonly against?: string }>>>;
}

interface CpuBar {
  readonly work: string;
  /** The worst of these is held against the limit. */
  readonly workloads: readonly string[];
  readonly limits: Readonly<Partial<Record<BarColumn, number>>>;
  /** A peer that stands in HAProxy's column. */
  readonly insteadOfHaproxy?: string;
}

const cpuBars: readonly CpuBar[] = [
  {
    work: "HTTP/1.1 apps, 32 connections",
    workloads: ["http1-c32"],
    limits: { haproxy: 1.1, "haproxy-mux": 1.8, envoy: 0.35, "envoy-mux": 0.6 },
  },
  {
    work: "HTTP/1.1 apps, 128 connections",
    workloads: ["http1-c128"],
    limits: { haproxy: 0.8, "haproxy-mux": 1.5, envoy: 0.3, "envoy-mux": 0.45 },
  },
  { work: "HTTP/1.1 app, 1 connection", workloads: ["http1-c1"], limits: { haproxy: 1.3, envoy: 0.7 } },
  {
    work: "HTTP/2 8×16 and 4×100",
    workloads: ["http2-8x16", "http2-4x100"],
    limits: { haproxy: 1.2, envoy: 0.28 },
  },
  { work: "gRPC unary, 8×16", workloads: ["grpc-unary"], limits: { haproxy: 1.3, envoy: 0.35 } },
  { work: "TCP 1 GB", workloads: ["tcp-1g"], limits: { haproxy: 1, envoy: 1.2 } },
  {
    work: "new TCP connection, small exchange",
    workloads: ["tcp-new-conn"],
    limits: { haproxy: 0.3, envoy: 0.5 },
    insteadOfHaproxy: "ghostunnel",
  },
];

/** Rows of which the run measured at least one cell. */
export function cpuBarsOf(summaries: readonly WorkloadSummary[]): CpuBarRow[] {
  return cpuBars
    .map(({ work, workloads, limits, insteadOfHaproxy }) => {
      const cells: Partial<Record<BarColumn, Bar & { against?: string }>> = {};
      for (const column of barColumns) {
        const limit = limits[column];
        if (limit === undefined) continue;
        const against = column === "haproxy" ? insteadOfHaproxy : undefined;
        const ratios = workloads.map((name) => peerIn(summaries, name, against ?? column)?.cpuRatio);
        const known = ratios.filter((ratio) => ratio !== undefined);
        const measured = known.length === workloads.length ? Math.max(...known) : undefined;
        cells[column] = { measured, limit, ...(against === undefined ? {} : { against }) };
      }
      return { work, cells };
    })
    .filter(({ cells }) => Object.values(cells).some(({ measured }) => measured !== undefined));
}

export interface NamedBar extends Bar {
  readonly text: string;
}

/** Latency and memory. */
export function otherBarsOf(summaries: readonly WorkloadSummary[], footprints: readonly Footprint[]): NamedBar[] {
  const own = footprints.find(({ peer }) => peer === "countersign");
  const loaded = peerIn(summaries, "http1-c32", "countersign");
  const paced = peerIn(summaries, "http1-1000rps", "envoy");
  return [
    { text: "added p50 at 1 000 requests/s ÷ Envoy's", measured: paced?.p50Ratio, limit: 1 },
    { text: "added p99 at 1 000 requests/s ÷ Envoy's", measured: paced?.p99Ratio, limit: 1 },
    {
      text: "p99 at full load, 32 connections ÷ Envoy's at its own",
      measured: peerIn(summaries, "http1-c32", "envoy")?.p99Ratio,
      limit: 1.5,
    },
    { text: "RSS of a hop when idle, MB", measured: own && own.idleRssBytes / 1e6, limit: 75 },
    { text: "peak RSS of a hop under 32 connections, MB", measured: loaded && loaded.peakRssBytes / 1e6, limit: 120 },
  ].filter(({ measured }) => measured !== undefined);
}

export function isMissed({ measured, limit }: Bar): boolean {
  return measured !== undefined && measured > limit;
}

function peerIn(summaries: readonly WorkloadSummary[], workload: string, peer: string): PeerSummary | undefined {
  return summaries.find((summary) => summary.workload.name === workload)?.peers.find((one) => one.peer === peer);
}
