/** Time as a dependency. Production uses `systemClock` (src/sys/system-clock.ts), tests a fake one. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  nowMs(): number;
  /** Monotonic milliseconds with fractions, for durations. */
  monotonicMs(): number;
  /** Calls `fn` once after `delayMs`; the returned function cancels it. Timers never hold the process alive. */
  after(delayMs: number, fn: () => void): () => void;
}
