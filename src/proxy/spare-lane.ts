import { monotonicMs } from "./monotonic.ts";

/** Connections beyond a listener's limit that are there for one answer. */
const PLACES = 32;
/** New ones in a second: a handshake costs milliseconds, and who floods us shall not choose how many. */
const PER_SECOND = 50;

/** A few places beyond a listener's limit of connections: who gets one hears by 503 or RESOURCE_EXHAUSTED that the listener is full; who
 *  doesn't is closed. */
export class SpareLane {
  readonly #nowMs: () => number;
  #left = PER_SECOND;
  #filledMs: number;

  constructor(nowMs: () => number = monotonicMs) {
    this.#nowMs = nowMs;
    this.#filledMs = nowMs();
  }

  /** Whether there is a place for one more. `beyond`: connections that are open beyond the limit. */
  admits(beyond: number): boolean {
    if (beyond >= PLACES) return false;
    const nowMs = this.#nowMs();
    this.#left = Math.min(PER_SECOND, this.#left + ((nowMs - this.#filledMs) * PER_SECOND) / 1000);
    this.#filledMs = nowMs;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
