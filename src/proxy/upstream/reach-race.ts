import { CountersignError } from "../../core/errors.ts";
import { type Deadlines, deadlineAfter, type HasDeadline } from "../deadlines.ts";
import type { HasLoad } from "./choose-endpoint.ts";

/** RFC 8305 section 5, Connection Attempt Delay: how long an address has before the next is tried beside it. Deadlines look a little later
 *  than this, which the section allows. */
const ATTEMPT_DELAY_MS = 250;
const MOST_ATTEMPTS = 16;

export interface RaceOptions<M extends HasLoad, T> {
  readonly deadlines: Deadlines;
  /** The next address to try; undefined: there is none that `tried` does not hold. */
  readonly next: (tried: readonly M[]) => M | undefined;
  /** Begins to reach an address and calls `done` once: false, if what it got is not wanted any more. */
  readonly reach: (member: M, done: (result: T | CountersignError) => boolean) => void;
  /** The first address that was reached, or why none was. Returns false if nobody wants it. Called once. */
  readonly done: (result: T | CountersignError) => boolean;
}

/** Reaches the first of several addresses that can be reached: one after another, the next at once where one fails, and beside it where
 *  one takes long (RFC 8305, happy eyeballs). Nothing of a call is sent before it is won, so that trying on is always safe. */
export class ReachRace<M extends HasLoad, T> implements HasDeadline {
  readonly #options: RaceOptions<M, T>;
  readonly #tried: M[] = [];
  #running = 0;
  #over = false;
  #lastError: CountersignError | undefined;
  deadlineMs = Number.POSITIVE_INFINITY;

  constructor(options: RaceOptions<M, T>) {
    this.#options = options;
  }

  /** Begins. `none`: why, if there is no address to try. */
  start(none: CountersignError): void {
    this.#lastError = none;
    this.#tryNext();
  }

  #tryNext(): void {
    if (this.#over) return;
    const { next, reach, deadlines } = this.#options;
    const member = this.#tried.length < MOST_ATTEMPTS ? next(this.#tried) : undefined;
    if (member === undefined) {
      this.deadlineMs = Number.POSITIVE_INFINITY;
      if (this.#running === 0 && this.#lastError !== undefined) this.#finish(this.#lastError);
      return;
    }
    this.#tried.push(member);
    this.#running++;
    // whoever comes meanwhile sees that it is waited for
    member.load.outstanding++;
    this.deadlineMs = deadlineAfter(ATTEMPT_DELAY_MS);
    let answered = false;
    reach(member, (result) => {
      answered = true;
      this.#running--;
      member.load.outstanding--;
      return this.#reached(result);
    });
    if (!answered && !this.#over && this.deadlinePlace === undefined) deadlines.add(this);
  }

  deadlinePlace: HasDeadline["deadlinePlace"] = undefined;

  #reached(result: T | CountersignError): boolean {
    if (this.#over) return false;
    if (!(result instanceof CountersignError)) return this.#finish(result);
    this.#lastError = result;
    if (isOnlyThisAddress(result)) this.#tryNext();
    else this.#finish(result);
    return true;
  }

  onDeadline(): void {
    this.#tryNext();
  }

  #finish(result: T | CountersignError): boolean {
    this.#over = true;
    this.#options.deadlines.delete(this);
    return this.#options.done(result);
  }
}

/** Whether another address may do better: what our own side refuses, it refuses everywhere. */
function isOnlyThisAddress({ code }: CountersignError): boolean {
  return code !== "E_UPSTREAM_LIMIT" && code !== "E_UPSTREAM_NOT_HTTP2" && !code.startsWith("E_IDENTITY_");
}
