import type { CallOutcome } from "../core/call-outcome.ts";
import { openRecord } from "./call-outcomes.ts";
import type { HttpService } from "./http-service.ts";
import type { CallUpstream } from "./upstream/upstream.ts";

/** A call open for longer is recorded when it passes this, and every PROGRESS_MS from then on. */
const LONG_CALL_MS = 60_000;
const PROGRESS_MS = 5 * 60_000;

/** The times of an HTTP call: by when what must have happened, and when records say that it is still open. A base class, since an object of
 *  its own would cost every call one more. */
export abstract class TimedCall {
  readonly outcome: CallOutcome;
  protected readonly service: HttpService;
  #nextRecordMs: number;
  /** Monotonic time by which the response must have begun; Infinity: no such limit now. */
  #firstByteDeadlineMs = Number.POSITIVE_INFINITY;
  /** By which the whole call must be over. */
  #requestDeadlineMs = Number.POSITIVE_INFINITY;
  /** By which a byte must have passed; moved by each. */
  #streamDeadlineMs = Number.POSITIVE_INFINITY;
  #streamTimeoutMs = 0;

  constructor(service: HttpService, outcome: CallOutcome) {
    this.service = service;
    this.outcome = outcome;
    this.#nextRecordMs = outcome.durationMs + LONG_CALL_MS;
  }

  abstract get done(): boolean;

  abstract get isTunnel(): boolean;

  /** A deadline has passed; none is left. `isSilent`: the upstream has not begun to answer. */
  protected abstract onLate(isSilent: boolean, why: string): void;

  /** Monotonic; `onDeadline` is to be called then. Infinity: nothing is waited for that has a limit. */
  get deadlineMs(): number {
    return Math.min(this.#firstByteDeadlineMs, this.#requestDeadlineMs, this.#streamDeadlineMs);
  }

  /** The upstream's limits, from when the call asked for it. */
  protected limit({ requestTimeoutMs, streamTimeoutMs }: CallUpstream, sinceMs: number): void {
    if (requestTimeoutMs > 0) this.#requestDeadlineMs = sinceMs + requestTimeoutMs;
    this.#streamTimeoutMs = streamTimeoutMs;
    this.noteBytes();
  }

  protected noteBytes(): void {
    if (this.#streamTimeoutMs > 0) this.#streamDeadlineMs = this.service.nowMs() + this.#streamTimeoutMs;
  }

  /** RFC 9110 section 15.6.5: the gateway's own patience, counted from the last request byte. */
  protected awaitResponse(): void {
    this.#firstByteDeadlineMs = this.service.firstByteDeadline();
  }

  protected noteResponse(): void {
    this.#firstByteDeadlineMs = Number.POSITIVE_INFINITY;
    this.noteBytes();
  }

  protected endDeadlines(): void {
    this.#firstByteDeadlineMs = Number.POSITIVE_INFINITY;
    this.#requestDeadlineMs = Number.POSITIVE_INFINITY;
    this.#streamDeadlineMs = Number.POSITIVE_INFINITY;
    this.#streamTimeoutMs = 0;
  }

  /** To be called once `deadlineMs` has passed. */
  onDeadline(nowMs: number): void {
    if (this.done) return;
    const isSilent = this.#firstByteDeadlineMs <= nowMs;
    const why = isSilent
      ? "the upstream sent no response in time"
      : this.#requestDeadlineMs <= nowMs
        ? "the call took longer than upstream.requestTimeout"
        : "nothing was sent either way for upstream.streamTimeout";
    this.endDeadlines();
    this.onLate(isSilent, why);
  }

  /** About twice a second: long calls leave records of being open. */
  onTick(): void {
    const nowMs = this.service.nowMs();
    if (nowMs < this.#nextRecordMs || this.done) return;
    const first = this.#nextRecordMs === this.outcome.durationMs + LONG_CALL_MS;
    this.#nextRecordMs = nowMs + PROGRESS_MS;
    // until the call ends, its outcome holds the monotonic start in place of the duration
    this.service.audit.note(openRecord(this.outcome, first && !this.isTunnel ? "start" : "progress", nowMs));
  }
}
