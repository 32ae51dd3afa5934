import type { CallOutcome, ConnectionContext } from "../core/call-outcome.ts";
import type { DecisionNotes, NearestRule } from "../core/decision.ts";
import type { Peer } from "../core/identity.ts";
import { quoteJson } from "../core/safe-text.ts";
import { formatTimeMs, formatTimeUs } from "./record-time.ts";

/** The longest text, in UTF-16 units, that a record keeps of each field; more is cut with a mark that says how much is missing.
 *  A record stays below RECORD_BYTES_MAX whatever a peer sends. */
const limits = {
  id: 128,
  method: 64,
  authority: 1024,
  path: 4096,
  name: 256,
  spiffeId: 2048,
  issuer: 512,
  address: 300,
  rule: 768,
  detail: 1024,
  nearest: 256,
  code: 128,
  principal: 1024,
  selector: 1024,
};
const MAX_SELECTORS = 16;

/** No record is longer, all texts at their limit and wholly escaped. */
export const RECORD_BYTES_MAX = 128 * 1024;

type RecordedDecision = CallOutcome["decision"] | "would-deny";

/** What the calls of one connection share, as JSON; built once per connection. */
interface ConnectionJson {
  /** `,"direction":…` up to and with the source. */
  readonly head: string;
  /** The app and TLS. */
  readonly tail: string;
  /** Kind to authority as last written, with what they were made of: the calls of a connection mostly share them, and of the
   *  destinations that an outbound one may see, calls in a row do. */
  kind: CallOutcome["kind"] | undefined;
  destination: CallOutcome["destination"];
  destinationAddress: string | undefined;
  protocol: CallOutcome["protocol"] | undefined;
  method: string | undefined;
  authority: string | undefined;
  targetJson: string;
  /** The verdict last written, for the same reason. */
  decision: RecordedDecision | undefined;
  policyVersion: string | undefined;
  rule: string | undefined;
  reason: string | undefined;
  verdictJson: string;
}

const connections = new WeakMap<ConnectionContext, ConnectionJson>();

/** One flat string in place of the tree of pieces that concatenation leaves: what is kept for many records is then copied into each at
 *  once, not piece by piece. `ascii` is printable ASCII. */
function flat(ascii: string): string {
  return Buffer.from(ascii, "latin1").toString("latin1");
}

function text(name: string, value: string | undefined, max: number): string {
  return value === undefined ? "" : `,"${name}":${quoteJson(value, max)}`;
}

function texts(name: string, values: readonly string[] | undefined, max: number, maxCount: number): string {
  if (values === undefined) return "";
  return `,"${name}":[${values
    .slice(0, maxCount)
    .map((value) => quoteJson(value, max))
    .join(",")}]`;
}

function integer(name: string, value: number | undefined): string {
  return value === undefined || !Number.isFinite(value) ? "" : `,"${name}":${value}`;
}

function milliseconds(name: string, value: number | undefined): string {
  return value === undefined || !Number.isFinite(value) ? "" : `,"${name}":${Math.round(value * 1000) / 1000}`;
}

/** Members that each begin with a comma, as one object, or nothing when there are none. */
function object(name: string, members: string): string {
  return members === "" ? "" : `,"${name}":{${members.slice(1)}}`;
}

function identityJson(source: AuditEvent["source"]): string {
  if (source === undefined) return "";
  const notAfter = Number.isFinite(source.notAfterMs) ? formatTimeMs(source.notAfterMs) : undefined;
  const svid =
    text("serial", source.serial, limits.code) +
    text("not_after", notAfter, limits.code) +
    text("issuer", source.issuer, limits.issuer);
  return text("spiffe_id", source.spiffeId, limits.spiffeId) + object("svid", svid);
}

function destinationJson(destination: CallOutcome["destination"], address: string | undefined): string {
  let members = "";
  if (destination !== undefined) {
    members += text("spiffe_id", destination.spiffeId, limits.spiffeId);
    members += object("svid", text("serial", destination.serial, limits.code));
  }
  return object("destination", members + text("address", address || undefined, limits.address));
}

function connectionJson(connection: ConnectionContext): ConnectionJson {
  const local = object("local", integer("uid", connection.sourceUid) + integer("pid", connection.sourcePid));
  const source =
    identityJson(connection.source) + text("address", connection.sourceAddress || undefined, limits.address);
  const tls = text("version", connection.tlsVersion, limits.code) + text("cipher", connection.tlsCipher, limits.code);
  return {
    head:
      text("direction", connection.direction, limits.code) +
      text("listener", connection.listener, limits.name) +
      object("source", source + local),
    tail: object("app", integer("port", connection.appPort)) + object("tls", tls),
    kind: undefined,
    destination: undefined,
    destinationAddress: undefined,
    protocol: undefined,
    method: undefined,
    authority: undefined,
    targetJson: "",
    decision: undefined,
    policyVersion: undefined,
    rule: undefined,
    reason: undefined,
    verdictJson: "",
  };
}

function targetJson(shared: ConnectionJson, outcome: CallOutcome): string {
  const { connection, kind, protocol, method, authority } = outcome;
  const destination = outcome.destination ?? connection.destination;
  const address = outcome.destinationAddress ?? connection.destinationAddress;
  if (
    kind !== shared.kind ||
    destination !== shared.destination ||
    address !== shared.destinationAddress ||
    protocol !== shared.protocol ||
    method !== shared.method ||
    authority !== shared.authority
  ) {
    shared.kind = kind;
    shared.destination = destination;
    shared.destinationAddress = address;
    shared.protocol = protocol;
    shared.method = method;
    shared.authority = authority;
    shared.targetJson = flat(
      `,"kind":"${kind}"${shared.head}${destinationJson(destination, address)}${shared.tail},"protocol":"${protocol}"` +
        text("method", method, limits.method) +
        text("authority", authority, limits.authority),
    );
  }
  return shared.targetJson;
}

/** An allowed call that policies in a dry run would have denied says so. */
function recordedDecision({ decision, notes }: CallOutcome): RecordedDecision {
  return decision === "allow" && notes?.dryRun?.verdict === "deny" ? "would-deny" : decision;
}

function verdictJson(shared: ConnectionJson, outcome: CallOutcome): string {
  const { policyVersion, rule, reason } = outcome;
  const decision = recordedDecision(outcome);
  if (
    decision !== shared.decision ||
    policyVersion !== shared.policyVersion ||
    rule !== shared.rule ||
    reason !== shared.reason
  ) {
    shared.decision = decision;
    shared.policyVersion = policyVersion;
    shared.rule = rule;
    shared.reason = reason;
    shared.verdictJson = flat(
      `,"decision":"${decision}"` +
        (policyVersion === undefined ? "" : `,"policy":{"version":${quoteJson(policyVersion, limits.code)}}`) +
        text("rule", rule, limits.rule) +
        text("reason", reason, limits.code),
    );
  }
  return shared.verdictJson;
}

function nearestJson(nearest: NearestRule | undefined): string {
  if (nearest === undefined) return "";
  const members =
    text("rule", nearest.rule, limits.rule) +
    text("field", nearest.field, limits.name) +
    text("expected", nearest.expected, limits.nearest) +
    text("actual", nearest.actual, limits.nearest);
  return object("nearest", members);
}

/** Faults of conditions that a record holds. */
const MAX_FAULTS = 4;

function notesJson(notes: DecisionNotes | undefined): string {
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

/** One audit record as a JSON line, line feed included. Fields that are unknown are left out; `time` is the moment of the
 *  phase (start plus duration). Durations keep microseconds. The line is printable ASCII. */
export function serialiseOutcome(outcome: CallOutcome, seq: number): string {
  return `${serialiseWithoutSeq(outcome)},"seq":${seq}}\n`;
}

/** The same up to the sequence number, which `,"seq":1}` may follow, and the object's end. */
export function serialiseWithoutSeq(outcome: CallOutcome): string {
  const { connection } = outcome;
  let shared = connections.get(connection);
  if (shared === undefined) {
    shared = connectionJson(connection);
    connections.set(connection, shared);
  }
  const elapsedUs = Number.isFinite(outcome.durationMs) ? outcome.durationMs * 1000 : 0;
  return (
    `{"time":"${formatTimeUs(outcome.startedUs + elapsedUs)}","phase":"${outcome.phase}"` +
    text("id", outcome.id === "" ? undefined : outcome.id, limits.id) +
    targetJson(shared, outcome) +
    text("path", outcome.path, limits.path) +
    (outcome.principal === undefined ? "" : object("request", text("principal", outcome.principal, limits.principal))) +
    grpcJson(outcome) +
    verdictJson(shared, outcome) +
    text("detail", outcome.detail, limits.detail) +
    nearestJson(outcome.nearest) +
    notesJson(outcome.notes) +
    integer("status", outcome.status) +
    `,"bytes":{"in":${outcome.bytesIn},"out":${outcome.bytesOut}}` +
    milliseconds("duration_ms", outcome.durationMs) +
    milliseconds("upstream_ms", outcome.upstreamMs) +
    `,"retries":${outcome.retries}` +
    text("close", outcome.close, limits.name) +
    text("request_id", outcome.requestId, limits.id) +
    text("trace_id", outcome.traceId, limits.id)
  );
}

function grpcJson({ grpcService, grpcMethod, grpcStatus }: CallOutcome): string {
  if (grpcService === undefined && grpcMethod === undefined && grpcStatus === undefined) return "";
  const names = text("service", grpcService, limits.authority) + text("method", grpcMethod, limits.name);
  return object("grpc", names + integer("status", grpcStatus));
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
  /** The SVID that an identity event speaks of. A JWT-SVID has no serial. */
  readonly source?:
    | (Pick<Peer, "spiffeId" | "notAfterMs"> & {
        readonly serial?: string | undefined;
        readonly issuer?: string | undefined;
      })
    | undefined;
  readonly policyVersion?: string | undefined;
  /** The local process that an identity event speaks of. */
  readonly local?: { readonly uid: number; readonly gid?: number; readonly pid?: number } | undefined;
  /** What an issuer attested, in SPIRE's terms: `unix:uid:1001`. At most 16. */
  readonly selectors?: readonly string[] | undefined;
  /** How many calls or refusals this one record stands for. */
  readonly count?: number | undefined;
}

/** An event as a JSON line, line feed included. `atMs` is wall-clock milliseconds. */
export function serialiseEvent(event: AuditEvent, atMs: number, seq: number): string {
  const { uid, gid, pid } = event.local ?? {};
  const local = object("local", integer("uid", uid) + integer("gid", gid) + integer("pid", pid));
  return (
    `{"time":"${formatTimeUs(Math.floor(atMs * 1000))}","phase":"end","kind":"${event.kind}"` +
    text("direction", event.direction, limits.code) +
    text("listener", event.listener, limits.name) +
    object("source", identityJson(event.source) + local) +
    texts("selectors", event.selectors, limits.selector, MAX_SELECTORS) +
    text("decision", event.decision, limits.code) +
    object("policy", text("version", event.policyVersion, limits.code)) +
    text("reason", event.reason, limits.code) +
    text("detail", event.detail, limits.detail) +
    integer("count", event.count) +
    `,"seq":${seq}}\n`
  );
}
