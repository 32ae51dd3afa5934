import type { CallOutcome } from "./call-outcome.ts";

/** A place reserved in the audit queue. Used up by `complete` or `release`; using it twice is a TypeError. */
export interface AuditSlot {
  readonly __brand: "AuditSlot";
}

/** What the data plane needs of audit. Nothing here waits or does I/O: records are written in batches later. */
export interface AuditLog {
  /** Reserves a place before a byte goes upstream. undefined: the queue is full or the sink is broken and
   *  `audit.onFailure` is block; the call must be answered with 503 E_AUDIT_UNAVAILABLE. With `drop` never undefined. */
  reserve(): AuditSlot | undefined;
  /** Hands over the final record of a call that holds a slot. The outcome must not be touched afterwards. */
  complete(slot: AuditSlot, outcome: CallOutcome): void;
  /** Extra start and progress records of long calls; dropped and counted when the queue is full. */
  note(outcome: CallOutcome): void;
  /** Final record of something refused before it could have a slot (handshake, garbage, over the limit). It has a
   *  bounded queue of its own; beyond it records are folded into counted ones. Never fails. */
  refuse(outcome: CallOutcome): void;
  /** Gives a slot back unused: the call turned out not to exist. */
  release(slot: AuditSlot): void;
}
