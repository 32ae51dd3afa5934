/** The global is an accessor that is looked up at each use; a call reads the clock several times. */
const clock = performance;

/** Monotonic milliseconds, with fractions. */
export function monotonicMs(): number {
  return clock.now();
}
