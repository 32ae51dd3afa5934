/** Upper bounds of the buckets in milliseconds; the last bucket, beyond them, is open. */
export const DURATION_BOUNDS_MS = [
  0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000,
] as const;

/** Durations as counted. */
export interface DurationCounts {
  /** Observations by bucket, not cumulated; one longer than DURATION_BOUNDS_MS. */
  readonly counts: Float64Array;
  readonly sumMs: number;
}

/** Counts of durations by bucket. prom-client's own histogram hashes its labels at each observation, which costs more than
 *  the rest of a call's bookkeeping together; this is a few comparisons, and prom-client reads it at the scrape. */
export interface DurationHistogram extends DurationCounts {
  observe(ms: number): void;
}

export function createDurationHistogram(): DurationHistogram {
  const counts = new Float64Array(DURATION_BOUNDS_MS.length + 1);
  let sumMs = 0;
  return {
    counts,
    get sumMs() {
      return sumMs;
    },
    observe(ms) {
      if (!(ms >= 0)) return;
      let bucket = 0;
      while (bucket < DURATION_BOUNDS_MS.length && ms > (DURATION_BOUNDS_MS[bucket] ?? 0)) bucket++;
      counts[bucket] = (counts[bucket] ?? 0) + 1;
      sumMs += ms;
    },
  };
}
