import { CountersignError } from "../../core/errors.ts";
import { newCounts, type UpstreamCounts } from "./endpoint-load.ts";

export interface CallLimitOptions {
  /** Calls that may wait for a connection. */
  readonly maxPending: number;
  /** Calls, tunnels and TCP connections that may be open. */
  readonly maxRequests: number;
}

/** A listener's limits on what is open to its upstream, all addresses together. Whoever is beyond one hears so at once: E_UPSTREAM_LIMIT. */
export class CallLimits {
  readonly counts: UpstreamCounts = newCounts();
  #options: CallLimitOptions;
  #limited = 0;

  constructor(options: CallLimitOptions) {
    this.#options = options;
  }

  /** Calls that were turned away, since the start. */
  get limited(): number {
    return this.#limited;
  }

  /** Other limits from now on. What is open stays. */
  retune(options: CallLimitOptions): void {
    this.#options = options;
  }

  /** Why one more can't be opened. `what`: calls or connections, in words. */
  whyFull(what: string): CountersignError | undefined {
    const { maxRequests } = this.#options;
    if (this.counts.active < maxRequests) return undefined;
    return this.#turnAway(`${maxRequests} ${what} are open already (upstream.maxRequests)`);
  }

  /** Why one more can't wait for a connection; undefined: it waits now, until `waited`. */
  wait(): CountersignError | undefined {
    const { maxPending } = this.#options;
    if (this.counts.pending >= maxPending) {
      return this.#turnAway(`${maxPending} calls wait for a connection already (upstream.maxPending)`);
    }
    this.counts.pending++;
    return undefined;
  }

  /** A wait is over. `result`: what came of it. */
  waited(result: unknown): void {
    this.counts.pending--;
    if (result instanceof CountersignError && result.code === "E_UPSTREAM_LIMIT") this.#limited++;
  }

  #turnAway(why: string): CountersignError {
    this.#limited++;
    return new CountersignError("E_UPSTREAM_LIMIT", why);
  }
}
