/** The global is an accessor that is looked up at each use. */
const clock = performance;

let heldMs = -1;

/** Monotonic milliseconds, with fractions. While a read's bytes are dealt with it is the time when they came: calls that came together would else
 *  read the clock a dozen times each. */
export function monotonicMs(): number {
  return heldMs === -1 ? clock.now() : heldMs;
}

/** The same, always by the clock: for who measures what his own work takes. */
export function clockMs(): number {
  return clock.now();
}

/** Runs `receive(bytes)`, all of it at one time. */
export function atOneTime<T>(receive: (bytes: T) => void, bytes: T): void {
  heldMs = clock.now();
  try {
    receive(bytes);
  } finally {
    heldMs = -1;
  }
}
