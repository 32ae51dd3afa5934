import type { AuditSlot } from "../core/audit-log.ts";
import type { CallOutcome } from "../core/call-outcome.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { CountersignError } from "../core/errors.ts";
import { finishOutcome, type OutcomeSinks, openRecord } from "./call-outcomes.ts";
import { deadlineAfter, type HasDeadline } from "./deadlines.ts";
import type { Transport, TransportOwner } from "./transport.ts";
import { reasonOf } from "./upstream/dial.ts";

export interface TcpCallOptions {
  readonly sinks: OutcomeSinks;
  readonly outcome: CallOutcome;
  readonly slot: AuditSlot;
  readonly idleMs: number;
  readonly onEnded: () => void;
}

/** One TCP connection relayed both ways, with back-pressure and half-close, as one call. */
export class TcpCall implements HasDeadline {
  deadlineMs: number;
  readonly #options: TcpCallOptions;
  readonly #down: Transport;
  readonly #up: Transport;
  #downEnded = false;
  #upEnded = false;
  #done = false;

  /** Both sides are open; `early`: bytes of the caller that were read to tell the protocol. */
  constructor(options: TcpCallOptions, down: Transport, up: Transport, early: Uint8Array | undefined) {
    this.#options = options;
    this.#down = down;
    this.deadlineMs = deadlineAfter(options.idleMs);
    this.#up = up;
    up.owner = this.#upOwner();
    down.owner = this.#downOwner();
    options.sinks.audit.note(openRecord(options.outcome, "start", options.sinks.nowMs()));
    if (early !== undefined && early.length > 0) this.#fromCaller(early);
    if (this.#done) return;
    if (!up.congested) down.resume();
    up.resume();
  }

  #fromCaller(chunk: Uint8Array): void {
    this.#options.outcome.bytesIn += chunk.length;
    this.deadlineMs = deadlineAfter(this.#options.idleMs);
    this.#up.writeBytes(chunk);
    if (this.#up.congested) this.#down.pause();
  }

  #downOwner(): TransportOwner {
    return {
      onBytes: (chunk) => this.#fromCaller(chunk),
      onFin: () => {
        this.#downEnded = true;
        this.#up.end();
        this.#maybeFinish();
      },
      onWritable: () => this.#up.resume(),
      onGone: (error) => this.#gone(error, this.#downEnded, "caller"),
    };
  }

  #upOwner(): TransportOwner {
    return {
      onBytes: (chunk) => {
        this.#options.outcome.bytesOut += chunk.length;
        this.deadlineMs = deadlineAfter(this.#options.idleMs);
        this.#down.writeBytes(chunk);
        if (this.#down.congested) this.#up.pause();
      },
      onFin: () => {
        this.#upEnded = true;
        this.#down.end();
        this.#maybeFinish();
      },
      onWritable: () => this.#down.resume(),
      onGone: (error) => this.#gone(error, this.#upEnded, "upstream"),
    };
  }

  #maybeFinish(): void {
    if (this.#downEnded && this.#upEnded) this.#finish("ended");
  }

  /** A socket that closed without saying its last byte takes the other with it: a cut stream must not look complete. */
  #gone(error: Error | undefined, ended: boolean, who: "caller" | "upstream"): void {
    if (this.#done) return;
    if (error instanceof CountersignError) {
      // a stream of a connection that others share: what ended that one is the reason
      const { outcome } = this.#options;
      outcome.reason = error.code;
      outcome.detail = error.message;
      this.#finish(error.code);
    } else if (ended && error === undefined) {
      // it had ended in order; the other side may still be talking to nobody
      this.#finish("ended");
    } else this.#finish(error === undefined ? `${who}-closed` : `${who}-${reasonOf(error)}`);
    this.#down.abort();
    this.#up.abort();
  }

  onDeadline(): void {
    this.cut("E_IDLE_TIMEOUT", "the connection carried nothing for too long");
  }

  /** Ends the call now: policy, identity, deadline. */
  cut(code: ErrorCode, detail: string): void {
    if (this.#done) return;
    const { outcome } = this.#options;
    outcome.reason = code;
    outcome.detail = detail;
    outcome.decision = code.startsWith("E_POLICY_") ? "deny" : outcome.decision;
    this.#finish(code);
    this.#down.abort();
    this.#up.abort();
  }

  /** A record that it is still open. */
  progress(): void {
    const { outcome, sinks } = this.#options;
    if (!this.#done) sinks.audit.note(openRecord(outcome, "progress", sinks.nowMs()));
  }

  #finish(close: string): void {
    if (this.#done) return;
    this.#done = true;
    const { outcome, sinks, slot, onEnded } = this.#options;
    outcome.close = close;
    finishOutcome(sinks, outcome, slot);
    onEnded();
  }
}
