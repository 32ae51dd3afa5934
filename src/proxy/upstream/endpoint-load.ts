import { monotonicMs } from "../monotonic.ts";

/** What all addresses of an upstream count together, for its circuit limits. */
export interface UpstreamCounts {
  /** Open, and being made. */
  connections: number;
  /** Calls that wait for a connection. */
  pending: number;
  /** Calls, tunnels and TCP connections that are open. */
  active: number;
}

export function newCounts(): UpstreamCounts {
  return { connections: 0, pending: 0, active: 0 };
}

/** Told when an address does what its ejection hangs on. */
export interface LoadObserver {
  /** One more failure in a row. */
  onFailure(load: EndpointLoad): void;
}

/** Time after which an old measurement has lost two thirds of its weight. */
const DECAY_MS = 10_000;
/** What an address counts as that has open calls and has never answered one. */
const UNKNOWN_MS = 1000;
/** Answers of a gateway that found no server (RFC 9110 15.6): what a sidecar says of an app that is away, too. Other answers, a 500
 *  among them, are the server's word about one request, and who sends it must not be able to eject the server. */
const GATEWAY_FAILURES: ReadonlySet<number> = new Set([502, 503, 504]);

/** How busy, how fast and how well one address is. Costs two additions and two readings of the clock a call. */
export class EndpointLoad {
  /** As records show it. */
  readonly address: string;
  readonly #counts: UpstreamCounts;
  readonly #observer: LoadObserver;
  /** Calls that are open on it, or wait for a connection to it. */
  outstanding = 0;
  /** Failures in a row. */
  failuresInRow = 0;
  /** Monotonic; it gets no call before, unless there is no other. */
  ejectedUntilMs = 0;
  /** How often it was ejected; falls again with time. */
  ejections = 0;
  /** For status and metrics, since it is known. */
  answers = 0;
  failures = 0;
  totalEjections = 0;
  #latencyMs: number | undefined;
  #measuredMs = 0;

  constructor(address: string, counts: UpstreamCounts, observer: LoadObserver) {
    this.address = address;
    this.#counts = counts;
    this.#observer = observer;
  }

  /** A call goes out. Returns now, for `answered`. */
  begin(): number {
    this.outstanding++;
    this.#counts.active++;
    return monotonicMs();
  }

  /** The response's head is there. `begunMs`: what `begin` returned. */
  answered(begunMs: number, status: number): void {
    const nowMs = monotonicMs();
    this.#measure(nowMs - begunMs, nowMs);
    if (GATEWAY_FAILURES.has(status)) this.failed();
    else this.succeeded();
  }

  succeeded(): void {
    this.answers++;
    this.failuresInRow = 0;
  }

  /** The call is over, however it ended. */
  ended(): void {
    this.outstanding--;
    this.#counts.active--;
  }

  /** It could not be reached, broke off, or did not answer in time. */
  failed(): void {
    this.failures++;
    this.failuresInRow++;
    this.#observer.onFailure(this);
  }

  /** The decaying average of the time to the response's head; undefined before the first. */
  latencyMs(nowMs: number): number | undefined {
    if (this.#latencyMs === undefined) return undefined;
    // one that was slow and gets no calls any more is tried again some day
    return this.#latencyMs * Math.exp((this.#measuredMs - nowMs) / DECAY_MS);
  }

  /** A rise counts at once, a fall by and by (Finagle's peak EWMA): an address that begins to stall is left alone soon. */
  #measure(tookMs: number, nowMs: number): void {
    const before = this.#latencyMs;
    if (before === undefined || tookMs >= before) this.#latencyMs = tookMs;
    else {
      const weight = Math.exp((this.#measuredMs - nowMs) / DECAY_MS);
      this.#latencyMs = before * weight + tookMs * (1 - weight);
    }
    this.#measuredMs = nowMs;
  }

  /** What one more call here would wait for, roughly: the smaller, the better. */
  cost(nowMs: number): number {
    const latency = this.latencyMs(nowMs);
    // whoever was never asked is asked first, by one call
    if (latency === undefined) return this.outstanding * UNKNOWN_MS;
    return (this.outstanding + 1) * latency;
  }
}
