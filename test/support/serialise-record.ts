import { RECORD_BYTES_MAX } from "../../src/audit/record-limits.ts";
import { type AuditEvent, putEnd, putEvent, putOutcome } from "../../src/audit/serialise-record.ts";
import type { CallOutcome } from "../../src/core/call-outcome.ts";

/** An outcome's record as an audit file holds it, line feed included. */
export function serialiseOutcome(outcome: CallOutcome, seq: number): string {
  const bytes = Buffer.allocUnsafe(RECORD_BYTES_MAX);
  return bytes.toString("latin1", 0, putEnd(bytes, putOutcome(bytes, 0, outcome), seq));
}

/** The same of an event at `atMs`, wall-clock milliseconds. */
export function serialiseEvent(event: AuditEvent, atMs: number, seq: number): string {
  const bytes = Buffer.allocUnsafe(RECORD_BYTES_MAX);
  return bytes.toString("latin1", 0, putEvent(bytes, 0, event, atMs, seq));
}
