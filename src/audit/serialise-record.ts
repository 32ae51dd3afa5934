import type { CallOutcome } from "../core/call-outcome.ts";
import type { DecisionNotes, NearestRule } from "../core/decision.ts";
import { identityMembers, putEnds, putTarget, putVerdict, type RecordedSvid, runsOf } from "./connection-runs.ts";
import {
  asciiRun,
  putAgain,
  putAscii,
  putMilliseconds,
  putNumber,
  putRun,
  putShortRun,
  putText,
} from "./record-bytes.ts";
import { limits, MAX_FAULTS, MAX_SELECTORS } from "./record-limits.ts";
import { integer, object, text, texts } from "./record-members.ts";
import { putTime } from "./record-time.ts";

const OPEN = 0x7b;
const CLOSE = 0x7d;
const LINE_FEED = 0x0a;
const START = asciiRun('Z","phase":"start"');
const PROGRESS = asciiRun('Z","phase":"progress"');
const END = asciiRun('Z","phase":"end"');
const END_ID = asciiRun('Z","phase":"end","id":');
const ID = asciiRun(',"id":');
const PATH = asciiRun(',"path":');
const GRPC = asciiRun(',"grpc":');
const SERVICE = asciiRun(',"service":');
const METHOD = asciiRun(',"method":');
const STATUS = asciiRun(',"status":');
const BYTES_IN = asciiRun(',"bytes":{"in":');
const BYTES_OUT = asciiRun(',"out":');
const DURATION = asciiRun('},"duration_ms":');
const UPSTREAM = asciiRun(',"upstream_ms":');
const RETRIES = asciiRun(',"retries":');
const NO_RETRY = asciiRun(',"retries":0');
const CLOSED = asciiRun(',"close":');
const REQUEST_ID = asciiRun(',"request_id":');
const TRACE_ID = asciiRun(',"trace_id":');
const SEQ = asciiRun(',"seq":');

const STATUSES = 600;
/** By HTTP status: it, and what stands between it and the number of bytes. Filled as they come. */
const statuses: (Uint8Array | undefined)[] = Array.from({ length: STATUSES });

/** Writes one audit record, a JSON object on one line of printable ASCII, up to its sequence number, which `putEnd` adds. Fields that
 *  are unknown are left out; `time` is the moment of the phase (start plus duration). Durations keep microseconds. Returns where it
 *  ended; it needs room for RECORD_BYTES_MAX bytes.
 *
 *  A record of most calls is some runs of bytes, copied, and the few texts and numbers that are its own: nothing is allocated. */
export function putOutcome(bytes: Buffer, from: number, outcome: CallOutcome): number {
  const { phase, id, path, durationMs, upstreamMs, retries, requestId } = outcome;
  const runs = runsOf(outcome.connection);
  const elapsedUs = durationMs * 1000;
  const timed = Number.isFinite(elapsedUs);
  let at = putTime(bytes, from, timed ? outcome.startedUs + elapsedUs : outcome.startedUs);
  if (id !== "" && phase === "end") at = putRun(bytes, at, END_ID);
  else {
    at = putRun(bytes, at, phase === "end" ? END : phase === "start" ? START : PROGRESS);
    if (id !== "") at = putRun(bytes, at, ID);
  }
  const idAt = at;
  if (id !== "") at = putText(bytes, at, id, limits.id);
  const idEnd = at;
  at = putTarget(bytes, putEnds(bytes, at, runs, outcome), runs, outcome);
  if (path !== undefined) at = putText(bytes, putShortRun(bytes, at, PATH), path, limits.path);
  if (outcome.principal !== undefined)
    at = putAscii(bytes, at, object("request", text("principal", outcome.principal, limits.principal)));
  if (outcome.grpcService !== undefined || outcome.grpcMethod !== undefined || outcome.grpcStatus !== undefined)
    at = putGrpc(bytes, at, outcome);
  at = putVerdict(bytes, at, runs, outcome);
  if (outcome.detail !== undefined || outcome.nearest !== undefined || outcome.notes !== undefined)
    at = putAscii(bytes, at, reasons(outcome));
  at = putNumber(bytes, putStatus(bytes, at, outcome.status), outcome.bytesIn);
  at = putNumber(bytes, putShortRun(bytes, at, BYTES_OUT), outcome.bytesOut);
  if (timed) at = putMilliseconds(bytes, putRun(bytes, at, DURATION), durationMs);
  else bytes[at++] = CLOSE;
  if (upstreamMs !== undefined && Number.isFinite(upstreamMs * 1000))
    at = putMilliseconds(bytes, putRun(bytes, at, UPSTREAM), upstreamMs);
  at = retries === 0 ? putShortRun(bytes, at, NO_RETRY) : putNumber(bytes, putRun(bytes, at, RETRIES), retries);
  if (outcome.close !== undefined) at = putText(bytes, putRun(bytes, at, CLOSED), outcome.close, limits.name);
  if (requestId !== undefined) {
    at = putRun(bytes, at, REQUEST_ID);
    // the caller gave none
    if (requestId === id && id !== "") at = putAgain(bytes, at, idAt, idEnd);
    else at = putText(bytes, at, requestId, limits.id);
  }
  if (outcome.traceId !== undefined) at = putText(bytes, putRun(bytes, at, TRACE_ID), outcome.traceId, limits.id);
  return at;
}

/** Up to the number of bytes that came in. */
function putStatus(bytes: Buffer, at: number, status: number | undefined): number {
  if (status === undefined || !Number.isFinite(status)) return putRun(bytes, at, BYTES_IN);
  const run = statuses[status];
  if (run !== undefined) return putRun(bytes, at, run);
  if (Number.isInteger(status) && status >= 0 && status < STATUSES)
    statuses[status] = asciiRun(`,"status":${status},"bytes":{"in":`);
  return putRun(bytes, putNumber(bytes, putRun(bytes, at, STATUS), status), BYTES_IN);
}

/** Writes the sequence number, the record's end and the line feed. */
export function putEnd(bytes: Buffer, from: number, seq: number): number {
  const at = putNumber(bytes, putShortRun(bytes, from, SEQ), seq);
  bytes[at] = CLOSE;
  bytes[at + 1] = LINE_FEED;
  return at + 2;
}

function putGrpc(bytes: Buffer, from: number, { grpcService, grpcMethod, grpcStatus }: CallOutcome): number {
  const start = putRun(bytes, from, GRPC);
  let at = start;
  if (grpcService !== undefined) at = putText(bytes, putRun(bytes, at, SERVICE), grpcService, limits.authority);
  if (grpcMethod !== undefined) at = putText(bytes, putRun(bytes, at, METHOD), grpcMethod, limits.name);
  if (grpcStatus !== undefined && Number.isFinite(grpcStatus))
    at = putNumber(bytes, putRun(bytes, at, STATUS), grpcStatus);
  if (at === start) return from;
  // in place of the first member's comma
  bytes[start] = OPEN;
  bytes[at] = CLOSE;
  return at + 1;
}

/** Why, of a call that was denied or failed, and what policies said besides their verdict. */
function reasons({ detail, nearest, notes }: CallOutcome): string {
  return text("detail", detail, limits.detail) + nearestMember(nearest) + notesMembers(notes);
}

function nearestMember(nearest: NearestRule | undefined): string {
  if (nearest === undefined) return "";
  const members =
    text("rule", nearest.rule, limits.rule) +
    text("field", nearest.field, limits.name) +
    text("expected", nearest.expected, limits.nearest) +
    text("actual", nearest.actual, limits.nearest);
  return object("nearest", members);
}

function notesMembers(notes: DecisionNotes | undefined): string {
  if (notes === undefined) return "";
  const { auditRule, dryRun, conditionFaults } = notes;
  const faults = conditionFaults
    .slice(0, MAX_FAULTS)
    .map(
      (fault) =>
        `{${(text("rule", fault.rule, limits.rule) + text("message", fault.message, limits.nearest)).slice(1)}}`,
    );
  return (
    text("audit_rule", auditRule, limits.rule) +
    (dryRun === undefined
      ? ""
      : object(
          "dry_run",
          text("decision", dryRun.verdict, limits.code) +
            text("rule", dryRun.rule, limits.rule) +
            text("reason", dryRun.reason, limits.detail),
        )) +
    (faults.length === 0 ? "" : `,"condition_faults":[${faults.join()}]`)
  );
}

/** Something that is no call: a lifecycle step, an identity or policy change, or a count of what has no record of its own. */
export interface AuditEvent {
  readonly kind: "identity" | "policy" | "lifecycle" | "refusal";
  /** Stable code or event name, e.g. `E_AUDIT_DROPPED`, `identity.rotated`. */
  readonly reason: string;
  /** One readable line; never a secret. */
  readonly detail?: string | undefined;
  readonly direction?: "inbound" | "outbound" | undefined;
  readonly listener?: string | undefined;
  readonly decision?: CallOutcome["decision"] | undefined;
  /** The SVID that an identity event speaks of. */
  readonly source?: RecordedSvid | undefined;
  readonly policyVersion?: string | undefined;
  /** The local process that an identity event speaks of. */
  readonly local?: { readonly uid: number; readonly gid?: number; readonly pid?: number } | undefined;
  /** What an issuer attested, in SPIRE's terms: `unix:uid:1001`. At most 16. */
  readonly selectors?: readonly string[] | undefined;
  /** How many calls or refusals this one record stands for. */
  readonly count?: number | undefined;
}

/** Writes an event as a whole line, as `putOutcome` and `putEnd` do. `atMs` is wall-clock milliseconds. */
export function putEvent(bytes: Buffer, from: number, event: AuditEvent, atMs: number, seq: number): number {
  const { uid, gid, pid } = event.local ?? {};
  const local = object("local", integer("uid", uid) + integer("gid", gid) + integer("pid", pid));
  const at = putAscii(
    bytes,
    putRun(bytes, putTime(bytes, from, Math.floor(atMs * 1000)), END),
    `,"kind":"${event.kind}"` +
      text("direction", event.direction, limits.code) +
      text("listener", event.listener, limits.name) +
      object("source", identityMembers(event.source) + local) +
      texts("selectors", event.selectors, limits.selector, MAX_SELECTORS) +
      text("decision", event.decision, limits.code) +
      object("policy", text("version", event.policyVersion, limits.code)) +
      text("reason", event.reason, limits.code) +
      text("detail", event.detail, limits.detail) +
      integer("count", event.count),
  );
  return putEnd(bytes, at, seq);
}
