import type { CallOutcome, ConnectionContext } from "../core/call-outcome.ts";
import type { Peer } from "../core/identity.ts";
import { asciiRun } from "./record-bytes.ts";
import { limits } from "./record-limits.ts";
import { integer, object, text } from "./record-members.ts";
import { formatTimeMs } from "./record-time.ts";

export type RecordedDecision = CallOutcome["decision"] | "would-deny";

/** What the calls of one connection share, ready to be copied into their records. */
export interface ConnectionRuns {
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
  target: Uint8Array;
  /** The verdict last written, for the same reason. */
  decision: RecordedDecision | undefined;
  policyVersion: string | undefined;
  rule: string | undefined;
  reason: string | undefined;
  verdict: Uint8Array;
}

const NOTHING = new Uint8Array(0);
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

/** The members of an identity: SPIFFE ID and SVID. A JWT-SVID has no serial. */
export function identityMembers(
  source:
    | (Pick<Peer, "spiffeId" | "notAfterMs"> & {
        readonly serial?: string | undefined;
        readonly issuer?: string | undefined;
      })
    | undefined,
): string {
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

/** Kind to authority. */
export function targetRun(runs: ConnectionRuns, outcome: CallOutcome): Uint8Array {
  const { connection, kind, protocol, method, authority } = outcome;
  const destination = outcome.destination ?? connection.destination;
  const address = outcome.destinationAddress ?? connection.destinationAddress;
  if (
    kind !== runs.kind ||
    destination !== runs.destination ||
    address !== runs.destinationAddress ||
    protocol !== runs.protocol ||
    method !== runs.method ||
    authority !== runs.authority
  ) {
    runs.kind = kind;
    runs.destination = destination;
    runs.destinationAddress = address;
    runs.protocol = protocol;
    runs.method = method;
    runs.authority = authority;
    runs.target = asciiRun(
      `,"kind":"${kind}"${runs.head}${destinationMember(destination, address)}${runs.tail},"protocol":"${protocol}"` +
        text("method", method, limits.method) +
        text("authority", authority, limits.authority),
    );
  }
  return runs.target;
}

/** An allowed call that policies in a dry run would have denied says so. */
function recordedDecision({ decision, notes }: CallOutcome): RecordedDecision {
  return decision === "allow" && notes?.dryRun?.verdict === "deny" ? "would-deny" : decision;
}

/** Decision to reason. */
export function verdictRun(runs: ConnectionRuns, outcome: CallOutcome): Uint8Array {
  const { policyVersion, rule, reason } = outcome;
  const decision = recordedDecision(outcome);
  if (
    decision !== runs.decision ||
    policyVersion !== runs.policyVersion ||
    rule !== runs.rule ||
    reason !== runs.reason
  ) {
    runs.decision = decision;
    runs.policyVersion = policyVersion;
    runs.rule = rule;
    runs.reason = reason;
    runs.verdict = asciiRun(
      `,"decision":"${decision}"` +
        object("policy", text("version", policyVersion, limits.code)) +
        text("rule", rule, limits.rule) +
        text("reason", reason, limits.code),
    );
  }
  return runs.verdict;
}
