import type { CallOutcome, ConnectionContext } from "../core/call-outcome.ts";
import type { CountersignError } from "../core/errors.ts";
import { newTraceparent, traceIdOf } from "./call-identifiers.ts";
import { newOutcome, openRecord } from "./call-outcomes.ts";
import { deadlineAfter } from "./deadlines.ts";
import { openPathProblem, outboundPath } from "./decide-call.ts";
import { grpcNames } from "./grpc-fields.ts";
import type { PreparedCall } from "./http-service.ts";
import type { OutgoingRequest } from "./http-streams.ts";
import { fieldValue } from "./http1/field-value.ts";
import { type HeadLines, SharedLines } from "./http1/head-lines.ts";
import type { Fields, RequestHead } from "./http1/http1-events.ts";
import { APP_HTTP, HOPS, MAX_HOPS } from "./identity-fields.ts";
import { monotonicMs } from "./monotonic.ts";
import type { Refusal } from "./refusal.ts";
import { type ScannedFields, safeTrailers } from "./request-fields.ts";
import type { Runtime } from "./runtime.ts";

/** The lines of the hop counts, made once. */
const HOP_LINES: readonly SharedLines[] = Array.from(
  { length: MAX_HOPS + 1 },
  (_, hops) => new SharedLines([HOPS, String(hops)]),
);
/** Tells the other sidecar what our app speaks. */
export const FROM_HTTP1_APP = new SharedLines([APP_HTTP, "1"]);
const NO_FIELDS: readonly string[] = [];

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

  get dependsOnTime(): boolean {
    return this.runtime.inForce.policy.dependsOnTime;
  }

  get overload(): CountersignError | undefined {
    return this.runtime.overload;
  }

  recordCall(outcome: CallOutcome): void {
    this.runtime.recorder.recordCall(outcome);
  }

  nowMs(): number {
    return monotonicMs();
  }

  firstByteDeadline(): number {
    return deadlineAfter(this.runtime.timeouts.firstByte);
  }

  checkedBodyDeadline(): number {
    return deadlineAfter(this.runtime.timeouts.head);
  }

  newOutcome(head: RequestHead, nowMs: number): CallOutcome {
    const protocol = head.version === 2 ? "http/2" : head.minor === 0 ? "http/1.0" : "http/1.1";
    const outcome = newOutcome(this.context, "request", protocol, nowMs);
    outcome.method = head.method;
    outcome.authority = head.authority;
    // as it came, until it is decided on: a call may be given up before that
    if (head.path !== "") outcome.path = head.path;
    return outcome;
  }

  /** Inbound asks more. */
  openProblem({ request: { path } }: PreparedCall, _head: RequestHead): CountersignError | undefined {
    return openPathProblem(path, outboundPath(this.runtime.inForce.policy, path, ""));
  }

  /** End users prove themselves to the inbound side alone. */
  authenticate(_head: RequestHead, call: PreparedCall): PreparedCall | Promise<PreparedCall | Refusal> {
    return call;
  }

  requestTrailers(trailers: Fields): Fields | undefined {
    return safeTrailers(trailers);
  }

  responseTrailers(trailers: Fields): Fields | undefined {
    return safeTrailers(trailers);
  }

  onLongCall(outcome: CallOutcome): void {
    this.audit.note(openRecord(outcome, "start", monotonicMs()));
  }

  /** Request id, trace and hop count, noted for the record. */
  protected trace(scanned: ScannedFields, outcome: CallOutcome): void {
    outcome.requestId = scanned.requestId ?? outcome.id;
    outcome.traceId = scanned.traceId;
    if (!scanned.isGrpc) return;
    const names = grpcNames(outcome.path ?? "");
    outcome.grpcService = names?.service;
    outcome.grpcMethod = names?.method;
  }

  /** The request as it goes on. `upgrade`: the protocol that is asked for, where it may be; `version`: what the upstream gets if it takes
   *  either. */
  protected forwarded(
    head: RequestHead,
    { scanned, target }: PreparedCall,
    lines: HeadLines,
    upgrade: string | undefined,
    version: 1 | 2,
    authority: string = head.authority,
  ): OutgoingRequest {
    return {
      method: head.method,
      target,
      authority,
      lines,
      fields: hopFields(scanned),
      framing: head.framing,
      upgrade,
      version,
      needsHttp2: scanned.isGrpc && head.version === 2,
      webSocketKey: upgrade === "websocket" ? fieldValue(head.fields, "sec-websocket-key") : undefined,
    };
  }

  /** The lines to forward: those that policy saw, then ours. `shared`: what this connection's requests have in common. Hops are below the
   *  maximum: prepare() has refused the others. */
  protected forwardedLines(scanned: ScannedFields, outcome: CallOutcome, shared?: SharedLines): HeadLines {
    const { lines } = scanned;
    if (shared !== undefined) lines.addShared(shared);
    lines.addShared(HOP_LINES[scanned.hops + 1] as SharedLines);
    if (scanned.requestId === undefined) lines.add("x-request-id", outcome.id);
    if (outcome.traceId === undefined) {
      const made = scanned.newTrace ?? newTraceparent();
      outcome.traceId = traceIdOf(made);
      if (scanned.traceparent === undefined) lines.add("traceparent", made);
    }
    return lines;
  }
}

/** What the hop's fields leave to say: whether the caller welcomes trailers. */
function hopFields(scanned: ScannedFields): readonly string[] {
  return scanned.te === undefined ? NO_FIELDS : ["te", scanned.te];
}
