import type { AuditLog, AuditSlot } from "../core/audit-log.ts";
import type { AuditKind, CallOutcome, ConnectionContext } from "../core/call-outcome.ts";
import type { Decision } from "../core/decision.ts";
import { nextDecisionId } from "./call-identifiers.ts";

/** What the end of a call is told to. */
export interface OutcomeSinks {
  readonly audit: AuditLog;
  readonly recordCall: (outcome: CallOutcome) => void;
  /** Monotonic milliseconds. */
  nowMs(): number;
}

let originUs = (performance.timeOrigin + 0) * 1000;
let originCheckedAt = 0;

/** Microseconds since the epoch. performance.now() doesn't follow clock corrections: the origin is taken anew every second. */
export function wallClockUs(monotonicMs: number): number {
  if (monotonicMs - originCheckedAt > 1000 || originCheckedAt === 0) {
    // both clocks are read now: the moment that was asked for may be long past
    originCheckedAt = performance.now();
    const wall = Date.now() * 1000 - originCheckedAt * 1000;
    // Date.now() has whole milliseconds: smaller differences are rounding, not a correction
    if (Math.abs(wall - originUs) > 1500) originUs = wall;
  }
  return Math.round(originUs + monotonicMs * 1000);
}

/** The outcome of a call that starts now. Every field is present from the start, so that all outcomes share one shape. */
export function newOutcome(
  connection: ConnectionContext,
  kind: AuditKind,
  protocol: CallOutcome["protocol"],
  nowMs: number,
): CallOutcome {
  return {
    connection,
    phase: "end",
    kind,
    id: nextDecisionId(),
    startedUs: wallClockUs(nowMs),
    // the monotonic start until finishOutcome makes it a duration
    durationMs: nowMs,
    upstreamMs: undefined,
    protocol,
    method: undefined,
    authority: undefined,
    path: undefined,
    destination: undefined,
    destinationAddress: undefined,
    principal: undefined,
    decision: "deny",
    policyVersion: undefined,
    rule: undefined,
    reason: undefined,
    detail: undefined,
    nearest: undefined,
    notes: undefined,
    status: undefined,
    grpcService: undefined,
    grpcMethod: undefined,
    grpcStatus: undefined,
    bytesIn: 0,
    bytesOut: 0,
    retries: 0,
    close: undefined,
    requestId: undefined,
    traceId: undefined,
  };
}

/** Notes what policy said. Why a denial ends the call is noted by whoever ends it. */
export function noteDecision(outcome: CallOutcome, decision: Decision): void {
  outcome.notes = decision.notes;
  if (decision.kind === "allow") {
    outcome.decision = "allow";
    outcome.policyVersion = decision.permit.policyVersion;
    outcome.rule = decision.permit.rule;
    outcome.reason = decision.reason;
    return;
  }
  outcome.policyVersion = decision.policyVersion;
  outcome.rule = decision.rule;
  outcome.nearest = decision.nearest;
}

/** Hands the outcome over, once: to audit (by its slot, or as a refusal where it had none), then to metrics. */
export function finishOutcome(
  sinks: OutcomeSinks,
  outcome: CallOutcome,
  slot: AuditSlot | undefined,
  nowMs: number = sinks.nowMs(),
): void {
  outcome.durationMs = nowMs - outcome.durationMs;
  sinks.recordCall(outcome);
  if (slot !== undefined) sinks.audit.complete(slot, outcome);
  else {
    const late = outcome.kind === "refusal" ? undefined : sinks.audit.reserve();
    if (late === undefined) sinks.audit.refuse(outcome);
    else sinks.audit.complete(late, outcome);
  }
}

/** A record of a call that is still open. */
export function openRecord(outcome: CallOutcome, phase: "start" | "progress", nowMs: number): CallOutcome {
  return { ...outcome, phase, durationMs: nowMs - outcome.durationMs };
}
