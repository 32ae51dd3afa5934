import type { CallOutcome } from "../core/call-outcome.ts";
import { createDurationHistogram, type DurationCounts } from "./duration-histogram.ts";

type Direction = "inbound" | "outbound";
/** What can be reloaded, and fail at it. */
export type Reloaded = "config" | "policy" | "identity";

/** Codes come from our own catalogue; this bound only guards memory against a mistake. */
const MAX_CODES = 256;

export interface CallCount {
  readonly direction: Direction;
  readonly listener: string;
  readonly verdict: CallOutcome["decision"];
  /** Stable code, or why it was allowed: `rule`, `default`, `no-policy`. */
  readonly code: string;
  count: number;
}

export interface ListenerCounts {
  readonly direction: Direction;
  readonly listener: string;
  opened: number;
  closed: number;
}

/** What the sidecar counts. Counting is always on and costs well under a microsecond a call. */
export interface Telemetry extends TelemetryCounts {
  /** Once per call, when it ends. */
  recordCall(outcome: CallOutcome): void;
  connectionOpened(direction: Direction, listener: string): void;
  connectionClosed(direction: Direction, listener: string): void;
  /** A new SVID is in use. */
  identityRotated(): void;
  reloadFailed(what: Reloaded): void;
}

/** What was counted, as the metrics page reads it. */
export interface TelemetryCounts {
  readonly calls: Iterable<CallCount>;
  readonly listeners: Iterable<ListenerCounts>;
  /** The whole call, by direction. */
  readonly durations: Readonly<Record<Direction, DurationCounts>>;
  /** The upstream's share, by direction. */
  readonly upstreamDurations: Readonly<Record<Direction, DurationCounts>>;
  readonly retries: Readonly<Record<Direction, number>>;
  readonly rotations: number;
  readonly reloadFailures: Readonly<Record<Reloaded, number>>;
}

/** Counts of one listener by verdict, then code: two look-ups by short strings that are the same objects each time. */
interface Meter extends ListenerCounts {
  readonly codes: Readonly<Record<CallOutcome["decision"], Map<string, CallCount>>>;
}

export function createTelemetry(): Telemetry {
  const meters: Record<Direction, Map<string, Meter>> = { inbound: new Map(), outbound: new Map() };
  const durations = { inbound: createDurationHistogram(), outbound: createDurationHistogram() };
  const upstreamDurations = { inbound: createDurationHistogram(), outbound: createDurationHistogram() };
  const retries = { inbound: 0, outbound: 0 };
  const reloadFailures = { config: 0, policy: 0, identity: 0 };
  let rotations = 0;

  function meterOf(direction: Direction, listener: string): Meter {
    const known = meters[direction].get(listener);
    if (known !== undefined) return known;
    const codes = { allow: new Map(), deny: new Map(), error: new Map() };
    const meter: Meter = { direction, listener, opened: 0, closed: 0, codes };
    meters[direction].set(listener, meter);
    return meter;
  }
  function countOf(meter: Meter, verdict: CallOutcome["decision"], code: string): CallCount {
    const codes = meter.codes[verdict];
    const known = codes.get(code);
    if (known !== undefined) return known;
    if (codes.size >= MAX_CODES && code !== "other") return countOf(meter, verdict, "other");
    const { direction, listener } = meter;
    const count: CallCount = { direction, listener, verdict, code, count: 0 };
    codes.set(code, count);
    return count;
  }
  function* allCalls(): Generator<CallCount> {
    for (const { codes } of allMeters()) for (const byCode of Object.values(codes)) yield* byCode.values();
  }
  function* allMeters(): Generator<Meter> {
    yield* meters.inbound.values();
    yield* meters.outbound.values();
  }
  return {
    recordCall(outcome) {
      const { direction, listener } = outcome.connection;
      countOf(meterOf(direction, listener), outcome.decision, outcome.reason ?? "none").count++;
      durations[direction].observe(outcome.durationMs);
      if (outcome.upstreamMs !== undefined) upstreamDurations[direction].observe(outcome.upstreamMs);
      retries[direction] += outcome.retries;
    },
    connectionOpened(direction, listener) {
      meterOf(direction, listener).opened++;
    },
    connectionClosed(direction, listener) {
      meterOf(direction, listener).closed++;
    },
    identityRotated() {
      rotations++;
    },
    reloadFailed(what) {
      reloadFailures[what]++;
    },
    get calls() {
      return allCalls();
    },
    get listeners() {
      return allMeters();
    },
    durations,
    upstreamDurations,
    retries,
    get rotations() {
      return rotations;
    },
    reloadFailures,
  };
}
