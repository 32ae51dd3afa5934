import { monotonicMs } from "../monotonic.ts";

/** Retries that each call adds. */
const SHARE = 0.2;
/** What calls can save up: enough for a connection that goes away with all its calls. */
const MOST = 500;
/** What there is at the start: a quiet upstream may fail now and then. Time alone saves up as much, one in a second. */
const QUIET = 10;
const TRICKLE = 1 / 1000;

/** How much more load retries may put on an upstream: a fifth of its calls. Without it an upstream that is in trouble would get a
 *  multiple of its load just then. */
export class RetryBudget {
  readonly #nowMs: () => number;
  #left = QUIET;
  #trickledMs: number;

  constructor(nowMs: () => number = monotonicMs) {
    this.#nowMs = nowMs;
    this.#trickledMs = nowMs();
  }

  /** A call that is no retry. */
  deposit(): void {
    if (this.#left < MOST) this.#left += SHARE;
  }

  /** Whether a retry may be made now; it is counted. */
  take(): boolean {
    const nowMs = this.#nowMs();
    if (this.#left < QUIET) this.#left = Math.min(QUIET, this.#left + (nowMs - this.#trickledMs) * TRICKLE);
    this.#trickledMs = nowMs;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
