import type { Counter, Gauge, Metric, MetricValueWithName } from "prom-client";
import type { Clock } from "../core/clock.ts";
import type { IdentityState, Svid } from "../core/identity.ts";
import { DURATION_BOUNDS_MS, type DurationCounts } from "./duration-histogram.ts";
import { createLagMeter, type EventLoopLag } from "./event-loop-lag.ts";
import type { TelemetryCounts } from "./telemetry.ts";
import { addUpstreamMetrics, type UpstreamMetricsState } from "./upstream-metrics.ts";

type UsedSvid = Pick<Svid, "fingerprint" | "notBeforeMs">;

/** State that others own; read anew at each scrape. */
export interface MetricsState {
  readonly identity: IdentityState;
  readonly policy:
    | {
        readonly version: string;
        readonly loadedAtMs: number;
        readonly policies: number;
        readonly rules: number;
        /** Of policies that do not lie in files. */
        readonly sources?: readonly { readonly name: string; readonly confirmedAtMs: number }[];
      }
    | undefined;
  /** Where issuers' keys come from; absent: nowhere. */
  readonly keySources?: readonly {
    readonly from: string;
    readonly keys: number;
    readonly loadedAtMs: number | undefined;
    readonly fetches: number;
    readonly failures: number;
  }[];
  /** Who is asked about calls; absent: nobody. */
  readonly providers?: readonly {
    readonly name: string;
    readonly allowed: number;
    readonly denied: number;
    readonly failed: number;
  }[];
  readonly audit: {
    readonly healthy: boolean;
    readonly capacity: number;
    readonly queued: number;
    readonly written: number;
    readonly bytes: number;
    readonly dropped: number;
    readonly refusalsFolded: number;
  };
  readonly ready: boolean;
  /** Our SVIDs that open connections rest on, each with their number; absent: none. */
  readonly svidsInUse?: ReadonlyMap<UsedSvid, number>;
  /** Of worker threads, each since the last look; absent: there are none. */
  readonly lag?: readonly EventLoopLag[];
  /** Where listeners' calls go; absent: nowhere. */
  readonly upstreams?: readonly UpstreamMetricsState[];
  /** New calls are turned away for want of memory. */
  readonly overloaded?: boolean;
}

export interface MetricsPage {
  readonly contentType: string;
  /** The page in the Prometheus text format 0.0.4. */
  render(): Promise<string>;
  /** Stops watching the event loop. */
  close(): void;
}

/** Sets up the Prometheus metrics. Loads prom-client only here, so that a sidecar without metrics doesn't carry it. */
export async function createMetricsPage(
  telemetry: TelemetryCounts,
  state: () => MetricsState,
  clock: Clock,
  version: string,
): Promise<MetricsPage> {
  const prom = await import("prom-client");
  const registry = new prom.Registry();
  const registers = [registry];
  const startedMs = clock.nowMs();

  function counter<T extends string>(
    name: string,
    help: string,
    labelNames: T[],
    fill: (metric: Counter<T>) => void,
  ): void {
    const metric: Counter<T> = new prom.Counter({
      name,
      help,
      labelNames,
      registers,
      collect() {
        metric.reset();
        fill(metric);
      },
    });
  }
  function gauge<T extends string>(
    name: string,
    help: string,
    labelNames: T[],
    fill: (metric: Gauge<T>) => void,
  ): void {
    const metric: Gauge<T> = new prom.Gauge({
      name,
      help,
      labelNames,
      registers,
      collect() {
        metric.reset();
        fill(metric);
      },
    });
  }
  function histogram(name: string, help: string, by: TelemetryCounts["durations"]): void {
    const get = async (): Promise<object> => {
      const values = [...bucketsOf(name, "inbound", by.inbound), ...bucketsOf(name, "outbound", by.outbound)];
      return { name, help, type: "histogram", values };
    };
    // The registry asks a metric for its name and get() alone; Histogram itself has no way to take counts that exist.
    registry.registerMetric({ name, get } as unknown as Metric);
  }

  counter("countersign_calls_total", "Calls that ended.", ["direction", "listener", "verdict", "code"], (metric) => {
    for (const { direction, listener, verdict, code, count } of telemetry.calls)
      metric.inc({ direction, listener, verdict, code }, count);
  });
  histogram("countersign_call_duration_seconds", "Duration of whole calls.", telemetry.durations);
  histogram("countersign_upstream_duration_seconds", "Time until the upstream answered.", telemetry.upstreamDurations);
  counter("countersign_retries_total", "Calls sent to the upstream again.", ["direction"], (metric) => {
    metric.inc({ direction: "inbound" }, telemetry.retries.inbound);
    metric.inc({ direction: "outbound" }, telemetry.retries.outbound);
  });
  gauge("countersign_connections", "Open connections.", ["direction", "listener"], (metric) => {
    for (const { direction, listener, opened, closed } of telemetry.listeners)
      metric.set({ direction, listener }, opened - closed);
  });
  counter("countersign_connections_total", "Connections accepted.", ["direction", "listener"], (metric) => {
    for (const { direction, listener, opened } of telemetry.listeners) metric.inc({ direction, listener }, opened);
  });
  addUpstreamMetrics(
    (name, help, labels, fill) => gauge(name, help, labels, (metric) => fill((of, value) => metric.set(of, value))),
    (name, help, labels, fill) => counter(name, help, labels, (metric) => fill((of, value) => metric.inc(of, value))),
    () => state().upstreams ?? [],
  );
  gauge("countersign_overloaded", "1 while new calls are turned away for want of memory.", [], (metric) =>
    metric.set(state().overloaded === true ? 1 : 0),
  );

  const svids = (): { spiffe_id: string; notBeforeMs: number; notAfterMs: number }[] => {
    const { identity } = state();
    if (identity.kind !== "serving" && identity.kind !== "stale") return [];
    const { svids: all } = identity.snapshot;
    return all.map(({ spiffeId, notBeforeMs, notAfterMs }) => ({ spiffe_id: spiffeId, notBeforeMs, notAfterMs }));
  };
  gauge("countersign_svid_expiry_timestamp_seconds", "When our SVID expires.", ["spiffe_id"], (metric) => {
    for (const { spiffe_id, notAfterMs } of svids()) metric.set({ spiffe_id }, notAfterMs / 1000);
  });
  gauge("countersign_svid_age_seconds", "Time since our SVID became valid.", ["spiffe_id"], (metric) => {
    for (const { spiffe_id, notBeforeMs } of svids()) metric.set({ spiffe_id }, (clock.nowMs() - notBeforeMs) / 1000);
  });
  gauge("countersign_identity_state", "1 for the state that our identity is in.", ["state"], (metric) => {
    for (const kind of ["waiting", "serving", "stale", "revoked", "expired"] as const)
      metric.set({ state: kind }, state().identity.kind === kind ? 1 : 0);
  });
  gauge("countersign_svid_generation", "Rises with each identity update.", [], (metric) => {
    const { identity } = state();
    metric.set("snapshot" in identity ? identity.snapshot.generation : 0);
  });
  const svidsInUse = (): ReadonlyMap<UsedSvid, number> => state().svidsInUse ?? new Map<UsedSvid, number>();
  gauge(
    "countersign_svid_connections",
    "Open TLS connections by the SVID of ours that opened them: one of now, or an older one.",
    ["svid"],
    (metric) => {
      const { identity } = state();
      const now = new Set("snapshot" in identity ? identity.snapshot.svids.map(({ fingerprint }) => fingerprint) : []);
      const count = { current: 0, older: 0 };
      for (const [{ fingerprint }, connections] of svidsInUse())
        count[now.has(fingerprint) ? "current" : "older"] += connections;
      for (const svid of ["current", "older"] as const) metric.set({ svid }, count[svid]);
    },
  );
  gauge("countersign_svid_generations_in_use", "SVIDs of ours that open connections rest on.", [], (metric) =>
    metric.set(svidsInUse().size),
  );
  gauge(
    "countersign_svid_oldest_in_use_seconds",
    "Time since the oldest SVID of ours that an open connection rests on became valid; 0 without any.",
    [],
    (metric) => {
      const oldestMs = Math.min(...Array.from(svidsInUse().keys(), ({ notBeforeMs }) => notBeforeMs));
      metric.set(Number.isFinite(oldestMs) ? (clock.nowMs() - oldestMs) / 1000 : 0);
    },
  );
  counter("countersign_rotations_total", "SVID rotations.", [], (metric) => metric.inc(telemetry.rotations));
  counter("countersign_reload_failures_total", "Reloads that failed and changed nothing.", ["what"], (metric) => {
    for (const what of ["config", "policy", "identity"] as const) metric.inc({ what }, telemetry.reloadFailures[what]);
  });

  gauge("countersign_policy_info", "1 for the policy version in force.", ["version"], (metric) => {
    const { policy } = state();
    if (policy !== undefined) metric.set({ version: policy.version }, 1);
  });
  gauge("countersign_policy_age_seconds", "Time since the policy in force was loaded.", [], (metric) => {
    const { policy } = state();
    if (policy !== undefined) metric.set((clock.nowMs() - policy.loadedAtMs) / 1000);
  });
  gauge(
    "countersign_policy_source_age_seconds",
    "Time since a source last confirmed its policies.",
    ["source"],
    (metric) => {
      for (const { name, confirmedAtMs } of state().policy?.sources ?? [])
        metric.set({ source: name }, (clock.nowMs() - confirmedAtMs) / 1000);
    },
  );
  gauge("countersign_policies", "Policies in force.", [], (metric) => metric.set(state().policy?.policies ?? 0));
  gauge("countersign_policy_rules", "Rules in force.", [], (metric) => metric.set(state().policy?.rules ?? 0));

  gauge("countersign_jwks_keys", "Keys that verify tokens, by where they come from.", ["from"], (metric) => {
    for (const { from, keys } of state().keySources ?? []) metric.set({ from }, keys);
  });
  gauge("countersign_jwks_age_seconds", "Time since these keys were fetched.", ["from"], (metric) => {
    for (const { from, loadedAtMs } of state().keySources ?? [])
      if (loadedAtMs !== undefined) metric.set({ from }, (clock.nowMs() - loadedAtMs) / 1000);
  });
  counter("countersign_jwks_fetches_total", "Fetches of keys that were begun.", ["from"], (metric) => {
    for (const { from, fetches } of state().keySources ?? []) metric.inc({ from }, fetches);
  });
  counter("countersign_jwks_fetch_failures_total", "Fetches of keys that failed.", ["from"], (metric) => {
    for (const { from, failures } of state().keySources ?? []) metric.inc({ from }, failures);
  });
  counter("countersign_ext_authz_checks_total", "Checks by external providers.", ["provider", "result"], (metric) => {
    for (const { name: provider, allowed, denied, failed } of state().providers ?? []) {
      metric.inc({ provider, result: "allowed" }, allowed);
      metric.inc({ provider, result: "denied" }, denied);
      metric.inc({ provider, result: "failed" }, failed);
    }
  });

  gauge("countersign_audit_queue", "Places taken in the audit queue.", [], (metric) =>
    metric.set(state().audit.queued),
  );
  gauge("countersign_audit_queue_capacity", "Places in the audit queue.", [], (metric) =>
    metric.set(state().audit.capacity),
  );
  gauge("countersign_audit_healthy", "1 while every audit sink takes records.", [], (metric) =>
    metric.set(state().audit.healthy ? 1 : 0),
  );
  counter("countersign_audit_records_total", "Records that every sink has.", [], (metric) =>
    metric.inc(state().audit.written),
  );
  counter("countersign_audit_bytes_total", "Bytes of those records.", [], (metric) => metric.inc(state().audit.bytes));
  counter("countersign_audit_dropped_total", "Records that some sink lacks.", [], (metric) =>
    metric.inc(state().audit.dropped),
  );
  counter("countersign_audit_refusals_folded_total", "Refusals that were counted instead of listed.", [], (metric) =>
    metric.inc(state().audit.refusalsFolded),
  );

  gauge("countersign_ready", "1 while the sidecar is ready.", [], (metric) => metric.set(state().ready ? 1 : 0));
  gauge("countersign_build_info", "Always 1.", ["version", "node"], (metric) =>
    metric.set({ version, node: process.versions.node }, 1),
  );
  const lag = createLagMeter();
  gauge(
    "countersign_event_loop_lag_seconds",
    "Delay of the event loop since the last scrape.",
    ["quantile"],
    (metric) => {
      // of the thread that is worst off
      const all = [lag.take(), ...(state().lag ?? [])];
      metric.set({ quantile: "0.5" }, Math.max(...all.map(({ p50 }) => p50)));
      metric.set({ quantile: "0.99" }, Math.max(...all.map(({ p99 }) => p99)));
      metric.set({ quantile: "1" }, Math.max(...all.map(({ max }) => max)));
    },
  );
  gauge("process_resident_memory_bytes", "Resident memory.", [], (metric) => metric.set(process.memoryUsage.rss()));
  counter("process_cpu_seconds_total", "CPU time, user and system.", [], (metric) => {
    const { user, system } = process.cpuUsage();
    metric.inc((user + system) / 1e6);
  });
  gauge("process_start_time_seconds", "When the metrics began.", [], (metric) => metric.set(startedMs / 1000));

  return { contentType: registry.contentType, render: () => registry.metrics(), close: () => lag.close() };
}

/** The values of one histogram as Prometheus wants them: cumulated, in seconds. */
function bucketsOf(name: string, direction: string, histogram: DurationCounts): MetricValueWithName<string>[] {
  const values: MetricValueWithName<string>[] = [];
  let total = 0;
  for (let i = 0; i < histogram.counts.length; i++) {
    total += histogram.counts[i] ?? 0;
    const bound = DURATION_BOUNDS_MS[i];
    const le = bound === undefined ? "+Inf" : bound / 1000;
    values.push({ metricName: `${name}_bucket`, labels: { direction, le }, value: total });
  }
  values.push({ metricName: `${name}_sum`, labels: { direction }, value: histogram.sumMs / 1000 });
  values.push({ metricName: `${name}_count`, labels: { direction }, value: total });
  return values;
}
