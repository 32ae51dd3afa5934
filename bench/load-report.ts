/** What one run of load measured. */
export interface LoadReport {
  /** Requests or messages answered, connections that had their exchange, or bytes relayed. */
  readonly units: number;
  /** Calls that have a line each in every hop's log. */
  readonly calls: number;
  readonly seconds: number;
  /** Microseconds; 0 where bytes are counted. */
  readonly p50Us: number;
  readonly p99Us: number;
  /** Failed connects, reads and writes, timeouts, and statuses from 400 on. */
  readonly errors: number;
}

/** The value below which `share` of the samples lie. Sorts in place. */
export function percentile(samples: Float64Array, share: number): number {
  samples.sort();
  return samples[Math.min(samples.length - 1, Math.floor(samples.length * share))] ?? 0;
}
