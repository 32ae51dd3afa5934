/** How many calls of one connection may wait for its windows while nothing at all leaves on it, and for how long. */
export interface StallLimit {
  readonly streams: number;
  /** Milliseconds. */
  readonly for: number;
}

/** Tells a caller that has us hold answers it does not take from one that is slow, which takes something now and then, or has paused a few
 *  streams and goes on with others. Asked now and then. Pure: time is handed in. */
export class StallGuard {
  readonly #limit: StallLimit;
  #sentBytes = -1;
  #sinceMs = 0;

  constructor(limit: StallLimit) {
    this.#limit = limit;
  }

  /** True if too many streams have waited for too long. `sentBytes`: all that was sent of bodies so far; `nowMs` is monotonic. */
  passes(stalled: number, sentBytes: number, nowMs: number): boolean {
    const { streams, for: forMs } = this.#limit;
    if (stalled < streams || sentBytes !== this.#sentBytes) {
      this.#sentBytes = stalled < streams ? -1 : sentBytes;
      this.#sinceMs = nowMs;
      return false;
    }
    return nowMs - this.#sinceMs >= forMs;
  }
}
