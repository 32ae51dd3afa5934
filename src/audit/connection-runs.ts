import type { CallOutcome, ConnectionContext } from "../core/call-outcome.ts";
import type { Peer } from "../core/identity.ts";
import { asciiRun, copyOf, putRun, putText } from "./record-bytes.ts";
import { limits } from "./record-limits.ts";
import { integer, object, text } from "./record-members.ts";
import { formatTimeMs } from "./record-time.ts";

type RecordedDecision = CallOutcome["decision"] | "would-deny";

/** What the calls of one connection share, ready to be copied into their records. */
export interface ConnectionRuns {
  /** `,"direction":…` up to and with the source. */
  readonly head: string;
  /** The app and TLS. */
  readonly tail: string;
  /** Kind to protocol as last written, with what they were made of: the calls of a connection mostly share them, and of the
   *  destinations that an outbound one may see, calls in a row do. */
  kind: CallOutcome["kind"] | undefined;
  destination: CallOutcome["destination"];
  destinationAddress: string | undefined;
  protocol: CallOutcome["protocol"] | undefined;
  ends: Uint8Array;
  /** Method and authority as last written. */
  method: string | undefined;
  authority: string | undefined;
  target: Uint8Array;
  /** Decision to reason as last written. */
  decision: RecordedDecision | undefined;
  policyVersion: string | undefined;
  rule: string | undefined;
  reason: string | undefined;
  verdict: Uint8Array;
}

const CLOSE = 0x7d;
const METHOD = asciiRun(',"method":');
const AUTHORITY = asciiRun(',"authority":');
const DECISION = asciiRun(',"decision":');
const POLICY_VERSION = asciiRun(',"policy":{"version":');
const RULE = asciiRun(',"rule":');
const REASON = asciiRun(',"reason":');
const NOTHING = asciiRun("");
const connections = new WeakMap<ConnectionContext, ConnectionRuns>();

/** Of a connection, made when its first record is written. */
export function runsOf(connection: ConnectionContext): ConnectionRuns {
  let runs = connections.get(connection);
  if (runs === undefined) {
    runs = newRuns(connection);
    connections.set(connection, runs);
  }
  return runs;
}

function newRuns(connection: ConnectionContext): ConnectionRuns {
  const local = object("local", integer("uid", connection.sourceUid) + integer("pid", connection.sourcePid));
  const source =
    identityMembers(connection.source) + text("address", connection.sourceAddress || undefined, limits.address);
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
    ends: NOTHING,
    method: undefined,
    authority: undefined,
    target: NOTHING,
    decision: undefined,
    policyVersion: undefined,
    rule: undefined,
    reason: undefined,
    verdict: NOTHING,
  };
}

/** An SVID as records name it. A JWT-SVID has no serial. */
export interface RecordedSvid extends Pick<Peer, "spiffeId" | "notAfterMs"> {
  readonly serial?: string | undefined;
  readonly issuer?: string | undefined;
}

/** The members of an identity: SPIFFE ID and SVID. */
export function identityMembers(source: RecordedSvid | undefined): string {
  if (source === undefined) return "";
  const svid =
    text("serial", source.serial, limits.code) +
    text("not_after", formatTimeMs(source.notAfterMs), limits.code) +
    text("issuer", source.issuer, limits.issuer);
  return text("spiffe_id", source.spiffeId, limits.spiffeId) + object("svid", svid);
}

function destinationMember(destination: CallOutcome["destination"], address: string | undefined): string {
  let members = "";
  if (destination !== undefined) {
    members += text("spiffe_id", destination.spiffeId, limits.spiffeId);
    members += object("svid", text("serial", destination.serial, limits.code));
  }
  return object("destination", members + text("address", address || undefined, limits.address));
}

/** Writes kind to protocol. */
export function putEnds(bytes: Buffer, at: number, runs: ConnectionRuns, outcome: CallOutcome): number {
  const { connection, kind, protocol } = outcome;
  const destination = outcome.destination ?? connection.destination;
  const address = outcome.destinationAddress ?? connection.destinationAddress;
  if (
    kind !== runs.kind ||
    destination !== runs.destination ||
    address !== runs.destinationAddress ||
    protocol !== runs.protocol
  ) {
    runs.kind = kind;
    runs.destination = destination;
    runs.destinationAddress = address;
    runs.protocol = protocol;
    runs.ends = asciiRun(
      `,"kind":"${kind}"${runs.head}${destinationMember(destination, address)}${runs.tail},"protocol":"${protocol}"`,
    );
  }
  return putRun(bytes, at, runs.ends);
}

/** Writes method and authority. */
export function putTarget(bytes: Buffer, from: number, runs: ConnectionRuns, outcome: CallOutcome): number {
  const { method, authority } = outcome;
  if (method === runs.method && authority === runs.authority) return putRun(bytes, from, runs.target);
  let at = from;
  if (method !== undefined) at = putText(bytes, putRun(bytes, at, METHOD), method, limits.method);
  if (authority !== undefined) at = putText(bytes, putRun(bytes, at, AUTHORITY), authority, limits.authority);
  runs.method = method;
  runs.authority = authority;
  runs.target = copyOf(bytes, from, at);
  return at;
}

/** An allowed call that policies in a dry run would have denied says so. */
function recordedDecision({ decision, notes }: CallOutcome): RecordedDecision {
  return decision === "allow" && notes?.dryRun?.verdict === "deny" ? "would-deny" : decision;
}

/** Writes decision to reason. */
export function putVerdict(bytes: Buffer, from: number, runs: ConnectionRuns, outcome: CallOutcome): number {
  const { policyVersion, rule, reason } = outcome;
  const decision = recordedDecision(outcome);
  if (
    decision === runs.decision &&
    policyVersion === runs.policyVersion &&
    rule === runs.rule &&
    reason === runs.reason
  )
    return putRun(bytes, from, runs.verdict);
  let at = putText(bytes, putRun(bytes, from, DECISION), decision, limits.code);
  if (policyVersion !== undefined) {
    at = putText(bytes, putRun(bytes, at, POLICY_VERSION), policyVersion, limits.code);
    bytes[at++] = CLOSE;
  }
  if (rule !== undefined) at = putText(bytes, putRun(bytes, at, RULE), rule, limits.rule);
  if (reason !== undefined) at = putText(bytes, putRun(bytes, at, REASON), reason, limits.code);
  runs.decision = decision;
  runs.policyVersion = policyVersion;
  runs.rule = rule;
  runs.reason = reason;
  runs.verdict = copyOf(bytes, from, at);
  return at;
}
