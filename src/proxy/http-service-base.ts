import type { CallOutcome, ConnectionContext } from "../core/call-outcome.ts";
import { newTraceparent, traceIdOf } from "./call-identifiers.ts";
import { newOutcome, openRecord } from "./call-outcomes.ts";
import { deadlineAfter } from "./deadlines.ts";
import type { Fields, RequestHead } from "./http1/http1-events.ts";
import { HOPS, MAX_HOPS } from "./identity-fields.ts";
import { type ScannedFields, safeTrailers } from "./request-fields.ts";
import type { Runtime } from "./runtime.ts";

/** The hop counts as text, made once. */
const HOP_TEXTS: readonly string[] = Array.from({ length: MAX_HOPS + 2 }, (_, hops) => String(hops));

/** What both directions of HTTP have in common for one downstream connection. */
export abstract class HttpServiceBase {
  readonly runtime: Runtime;

  constructor(runtime: Runtime) {
    this.runtime = runtime;
  }

  /** Of the call that starts now: an outbound one changes with our SVID. */
  abstract get context(): ConnectionContext;

  get audit(): Runtime["audit"] {
    return this.runtime.audit;
  }

  get policyVersion(): string {
    return this.runtime.inForce.policy.version;
  }

  recordCall(outcome: CallOutcome): void {
    this.runtime.recorder.recordCall(outcome);
  }

  nowMs(): number {
    return performance.now();
  }

  firstByteDeadline(): number {
    return deadlineAfter(this.runtime.timeouts.firstByte);
  }

  newOutcome(head: RequestHead): CallOutcome {
    const protocol = head.minor === 0 ? "http/1.0" : "http/1.1";
    const outcome = newOutcome(this.context, "request", protocol, performance.now());
    outcome.method = head.method;
    outcome.authority = head.authority;
    return outcome;
  }

  requestTrailers(trailers: Fields): Fields | undefined {
    return safeTrailers(trailers);
  }

  responseTrailers(trailers: Fields): Fields | undefined {
    return safeTrailers(trailers);
  }

  onLongCall(outcome: CallOutcome): void {
    this.audit.note(openRecord(outcome, "start", performance.now()));
  }

  /** Request id, trace and hop count, noted for the record. */
  protected trace(scanned: ScannedFields, outcome: CallOutcome): void {
    outcome.requestId = scanned.requestId ?? outcome.id;
    outcome.traceId = scanned.traceparent === undefined ? undefined : traceIdOf(scanned.traceparent);
  }

  /** The fields to forward: those that policy saw, then ours. */
  protected forwardedFields(scanned: ScannedFields, outcome: CallOutcome): string[] {
    const fields = scanned.kept.raw.slice();
    fields.push(HOPS, HOP_TEXTS[scanned.hops + 1] ?? "");
    if (scanned.requestId === undefined) fields.push("x-request-id", outcome.id);
    if (outcome.traceId === undefined) {
      const made = newTraceparent();
      outcome.traceId = traceIdOf(made);
      if (scanned.traceparent === undefined) fields.push("traceparent", made);
      else replaceField(fields, "traceparent", made);
    }
    return fields;
  }
}

/** Replaces the value of every field of that name. */
export function replaceField(fields: string[], lowerName: string, value: string): void {
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i]?.length === lowerName.length && fields[i]?.toLowerCase() === lowerName) fields[i + 1] = value;
  }
}
