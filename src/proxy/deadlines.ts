import { DenseSet, type Place } from "./dense-set.ts";
import { monotonicMs } from "./monotonic.ts";

/** Something with a deadline. Setting `deadlineMs` (monotonic; Infinity: none) costs an assignment: no timer is made or
 *  cleared per call, one sweep looks at all of them. */
export interface HasDeadline {
  readonly deadlineMs: number;
  /** Set and read by Deadlines alone. */
  deadlinePlace?: Place | undefined;
  /** Called by the sweep once `deadlineMs` has passed; again at each sweep until it is moved or removed. */
  onDeadline(nowMs: number): void;
}

/** How often deadlines are looked at: every timeout is late by at most this much. */
export const SWEEP_INTERVAL_MS = 200;

/** The one timer of the data plane. */
export class Deadlines {
  readonly #members = new DenseSet<HasDeadline>();
  #timer: NodeJS.Timeout | undefined;

  add(member: HasDeadline): void {
    if (member.deadlinePlace !== undefined) throw new TypeError("a deadline is added once");
    member.deadlinePlace = this.#members.add(member);
    this.#timer ??= setInterval(() => this.sweep(monotonicMs()), SWEEP_INTERVAL_MS).unref();
  }

  delete(member: HasDeadline): void {
    const place = member.deadlinePlace;
    if (place === undefined) return;
    member.deadlinePlace = undefined;
    this.#members.delete(place);
    if (this.#members.size === 0 && this.#timer !== undefined) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  get size(): number {
    return this.#members.size;
  }

  sweep(nowMs: number): void {
    for (const member of this.#members.list()) {
      if (member.deadlinePlace !== undefined && member.deadlineMs <= nowMs) member.onDeadline(nowMs);
    }
  }
}

/** The deadline `timeoutMs` from now; 0 is "none". `nowMs`: for a caller that has just read the clock. */
export function deadlineAfter(timeoutMs: number, nowMs: number = monotonicMs()): number {
  return timeoutMs === 0 ? Number.POSITIVE_INFINITY : nowMs + timeoutMs;
}
