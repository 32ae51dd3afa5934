import { DURATION_BOUNDS_MS, type DurationCounts } from "./duration-histogram.ts";
import type { CallCount, ListenerCounts, Telemetry, TelemetryCounts } from "./telemetry.ts";

type Direction = CallCount["direction"];
type ByDirection<T> = Readonly<Record<Direction, T>>;

/** What one thread's data plane has counted, as plain data. */
export interface TelemetrySnapshot {
  readonly calls: readonly CallCount[];
  readonly listeners: readonly ListenerCounts[];
  readonly durations: ByDirection<DurationCounts>;
  readonly upstreamDurations: ByDirection<DurationCounts>;
  readonly retries: ByDirection<number>;
}

export function snapshotTelemetry(telemetry: TelemetryCounts): TelemetrySnapshot {
  const { durations, upstreamDurations, retries } = telemetry;
  return {
    calls: Array.from(telemetry.calls, (count) => ({ ...count })),
    listeners: Array.from(telemetry.listeners, ({ direction, listener, opened, closed }) => ({
      direction,
      listener,
      opened,
      closed,
    })),
    durations: { inbound: sumDurations([durations.inbound]), outbound: sumDurations([durations.outbound]) },
    upstreamDurations: {
      inbound: sumDurations([upstreamDurations.inbound]),
      outbound: sumDurations([upstreamDurations.outbound]),
    },
    retries: { ...retries },
  };
}

/** Counts of a process: what its main thread counts itself (rotations, reloads), and the calls of its workers, whose newest snapshots are
 *  asked for at each look. */
export function totalTelemetry(
  own: Pick<Telemetry, "rotations" | "reloadFailures">,
  workers: () => readonly TelemetrySnapshot[],
): TelemetryCounts {
  const byDirection = <T>(of: (direction: Direction) => T): ByDirection<T> => ({
    get inbound() {
      return of("inbound");
    },
    get outbound() {
      return of("outbound");
    },
  });
  return {
    get calls() {
      return sumCounts(
        workers().map(({ calls }) => calls),
        ({ direction, listener, verdict, code }) => JSON.stringify([direction, listener, verdict, code]),
        (total, { count }) => {
          total.count += count;
        },
      );
    },
    get listeners() {
      return sumCounts(
        workers().map(({ listeners }) => listeners),
        ({ direction, listener }) => JSON.stringify([direction, listener]),
        (total, { opened, closed }) => {
          total.opened += opened;
          total.closed += closed;
        },
      );
    },
    durations: byDirection((direction) => sumDurations(workers().map(({ durations }) => durations[direction]))),
    upstreamDurations: byDirection((direction) =>
      sumDurations(workers().map(({ upstreamDurations }) => upstreamDurations[direction])),
    ),
    retries: byDirection((direction) => workers().reduce((sum, { retries }) => sum + retries[direction], 0)),
    get rotations() {
      return own.rotations;
    },
    get reloadFailures() {
      return own.reloadFailures;
    },
  };
}

function sumCounts<T extends object>(
  lists: readonly (readonly T[])[],
  keyOf: (one: T) => string,
  add: (total: T, one: T) => void,
): T[] {
  const totals = new Map<string, T>();
  for (const one of lists.flat()) {
    const key = keyOf(one);
    const total = totals.get(key);
    if (total === undefined) totals.set(key, { ...one });
    else add(total, one);
  }
  return [...totals.values()];
}

function sumDurations(parts: readonly DurationCounts[]): DurationCounts {
  const counts = new Float64Array(DURATION_BOUNDS_MS.length + 1);
  let sumMs = 0;
  for (const part of parts) {
    sumMs += part.sumMs;
    for (let i = 0; i < counts.length; i++) counts[i] = (counts[i] ?? 0) + (part.counts[i] ?? 0);
  }
  return { counts, sumMs };
}
