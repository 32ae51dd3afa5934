import { jwtRulesFor } from "../authz/authentication.ts";
import { byteText } from "../authz/byte-text.ts";
import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import { decideCall, decideOutboundCall } from "../authz/decide.ts";
import { checkOutboundPath, normalizeForPolicy } from "../authz/normalize-for-policy.ts";
import type { CallFacts, HeaderList, RequestIdentity } from "../core/call-facts.ts";
import type { CallDecision, Decision, DryRunVerdict, NearestRule, ProviderRequest, RuleId } from "../core/decision.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import type { Peer } from "../core/identity.ts";
import { principalOf, type SpiffeId, trustDomainOf } from "../core/spiffe-id.ts";
import { askHandshake } from "./ask-handshake.ts";
import type { AskedCall } from "./asked-call.ts";
import { egressPlace } from "./egress-call.ts";

/** What a sidecar would answer to a call. */
export interface PolicyAnswer {
  readonly decision: "allow" | "deny";
  /** The rule that decided; undefined for a default. */
  readonly rule: RuleId | undefined;
  /** The code of a denial; "rule", "default" or "no-policy" of an allow. */
  readonly reason: ErrorCode | "rule" | "default" | "no-policy";
  /** One line for people. */
  readonly detail: string;
  readonly nearest: NearestRule | undefined;
  /** Every rule that had a say: beside the one that decided, those that ask, mark the record, or are a dry run. */
  readonly rules: readonly RuleId[];
  /** What enforcing the dry-run policies as well would have changed; undefined without any. */
  readonly dryRun: DryRunVerdict | undefined;
  /** Who must allow the call as well; asking them is left to the sidecar. */
  readonly providers: readonly ProviderRequest[];
  /** What policy saw; undefined for a connection or request that is refused before policy is asked. */
  readonly facts: CallFacts | undefined;
  /** What of the call counts for nothing here, each in one line. */
  readonly notes: readonly string[];
}

/** What policy sees of a call beyond what is asked: the proxy removes some headers and finds the client's address. */
export interface SeenCall {
  readonly headers: HeaderList;
  readonly remoteIp: string;
}

export interface AskContext {
  readonly see: (call: AskedCall) => SeenCall;
  /** The port of calls that name none: the app's, or outbound the server's; 0 where there are several. */
  readonly defaultPort: (call: AskedCall) => number;
  /** What becomes of an outbound call that no OUTBOUND policy speaks about: a configured destination is allowed, any other is not. */
  readonly outboundDefault: (call: AskedCall) => "allow" | "deny";
  /** The time of calls that name none, in milliseconds since the epoch. */
  readonly nowMs: number;
  /** "passed": the call came through a handshake, whatever the listener takes now; "noted": policy alone decides, and a note says what the
   *  handshake would have made of it. Absent: the handshake is asked about too. */
  readonly handshake?: "passed" | "noted";
}

const STANDARD_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/** Decides about one call as the sidecar would: its path is normalised, what policy must not see is removed. Pure. */
export function askPolicy(policy: CompiledPolicy, call: AskedCall, context: AskContext): PolicyAnswer {
  const facts = factsOf(policy, call, context);
  if ("refused" in facts)
    return {
      decision: "deny",
      rule: undefined,
      reason: facts.refused,
      detail: facts.why,
      nearest: undefined,
      rules: [],
      dryRun: undefined,
      providers: [],
      facts: undefined,
      notes: [],
    };
  return answerOf(decisionOf(policy, call, facts, context), facts, notesOf(policy, call, facts, context));
}

function notesOf(
  policy: CompiledPolicy,
  call: AskedCall,
  facts: CallFacts,
  { handshake, outboundDefault }: AskContext,
): readonly string[] {
  const notes: string[] = [];
  const place = egressPlace(policy, call, outboundDefault(call));
  const { destinationPort } = facts.connection;
  if (place !== undefined && "port" in place && place.port !== destinationPort)
    notes.push(`the host names port ${place.port}: the egress proxy takes no such request to port ${destinationPort}`);
  const shaken = handshake === "noted" ? askHandshake(policy, call, facts.connection.destinationPort) : undefined;
  if (shaken?.kind === "refused")
    notes.push(`such a caller is refused before policy is asked, with ${shaken.refused}: ${shaken.why}`);
  const countsAsNobody =
    call.source.spiffeId !== undefined && facts.connection.peer === undefined && call.direction === "inbound";
  if (countsAsNobody || (shaken?.kind === "taken" && shaken.noIdentity))
    notes.push("the listener takes plaintext alone, so the caller counts as nobody");
  if (facts.request?.identity !== undefined && call.direction === "inbound" && jwtRulesFor(policy).length === 0)
    notes.push(
      "no RequestAuthentication applies to this workload, so no token is verified and no real request has these claims",
    );
  return notes;
}

function decisionOf(policy: CompiledPolicy, call: AskedCall, facts: CallFacts, context: AskContext): CallDecision {
  if (call.direction === "inbound") return decideCall(policy, facts);
  return decideOutboundCall(policy, facts, context.outboundDefault(call));
}

function answerOf(made: CallDecision, facts: CallFacts, notes: readonly string[]): PolicyAnswer {
  const providers = made.kind === "ask" ? made.providers : [];
  const decision = made.kind === "ask" ? made.decision : made;
  const decided = decision.kind === "deny" ? decision.rule : decision.permit.rule;
  const { notes: hints } = decision;
  const rules = [decided, hints?.auditRule, hints?.dryRun?.rule, ...providers.map(({ rule }) => rule)].filter(
    (rule) => rule !== undefined,
  );
  const answer = { decision: decision.kind, rule: decided, rules, dryRun: hints?.dryRun, providers, facts, notes };
  if (decision.kind === "allow")
    return { ...answer, reason: decision.reason, detail: allowText(decision), nearest: undefined };
  // Looking for the nearest rule costs more than the verdict: it waits until somebody asks.
  return {
    ...answer,
    reason: decision.code,
    get detail() {
      return decision.reason;
    },
    get nearest() {
      return decision.nearest;
    },
  };
}

function allowText({ permit, reason }: Extract<Decision, { kind: "allow" }>): string {
  switch (reason) {
    case "rule":
      return `ALLOW rule ${permit.rule ?? ""} matched`;
    case "no-policy":
      return "no policy speaks about the call";
    case "default":
      return "no ALLOW policy applies, and the default is to allow";
  }
}

function factsOf(
  policy: CompiledPolicy,
  call: AskedCall,
  { see, defaultPort, outboundDefault, nowMs, handshake }: AskContext,
): CallFacts | { readonly refused: ErrorCode; readonly why: string } {
  const { request, source, destination } = call;
  const place = egressPlace(policy, call, outboundDefault(call));
  if (place !== undefined && "refused" in place) return place;
  const destinationPort = destination.port ?? place?.port ?? defaultPort(call);
  const shaken = handshake === undefined ? askHandshake(policy, call, destinationPort) : undefined;
  if (shaken?.kind === "refused") return shaken;
  const spiffeId = shaken?.noIdentity === true ? undefined : source.spiffeId;
  const seen = see(call);
  const { remoteIp } = seen;
  // as they would come over the wire
  const headers = request?.headersAreBytes === true ? seen.headers : seen.headers.map(byteText);
  const connection = {
    peer: spiffeId === undefined ? undefined : peerOf(spiffeId),
    sourceIp: source.ip,
    remoteIp,
    destinationIp: destination.ip === "" && place !== undefined ? place.ip : destination.ip,
    destinationPort,
    sni: call.sni,
  };
  const about = {
    connection,
    nowMs: call.timeMs ?? nowMs,
    ...(call.direction === "outbound" && destination.spiffeId !== undefined
      ? { destinationPrincipals: [principalOf(destination.spiffeId)] }
      : {}),
  };
  if (request === undefined) return { ...about, request: undefined };
  const { method, host, path } = request;
  if (isMiscased(method))
    return { refused: "E_HTTP_METHOD_CASE", why: `the method differs from ${method.toUpperCase()} only in case` };
  // RFC 9112 section 3.2: a path, but for OPTIONS * and CONNECT.
  if (!path.startsWith("/") && method !== "CONNECT" && !(method === "OPTIONS" && path === "*"))
    return { refused: "E_HTTP_TARGET", why: "the path does not begin with a slash" };
  if (/[^\x21-\x7e]/.test(path))
    return { refused: "E_HTTP_TARGET", why: "the path has a character that must be escaped by %" };
  if (host === "" && policy.comparesHosts)
    return { refused: "E_HTTP_HOST", why: "the request has no Host, and policies compare hosts" };
  const question = path.indexOf("?");
  const plain = question === -1 ? path : path.slice(0, question);
  const query = path.slice(plain.length);
  const normal =
    call.direction === "inbound" ? normalizeForPolicy(policy, plain, query) : checkOutboundPath(policy, plain, query);
  if (!normal.ok) return { refused: normal.code, why: normal.reason };
  const identity = request.claims === undefined ? {} : { identity: identityOf(request.claims) };
  const scheme = spiffeId === undefined ? "http" : "https"; // only a caller in plaintext has no identity
  const target = normal.path + query;
  // of what the app gets from the sidecar, only this does not depend on more than the call
  const written = call.direction === "inbound" ? ["x-forwarded-proto", scheme] : undefined;
  const { authority = host ?? "", shortAuthority } = place ?? {};
  const short = shortAuthority === undefined ? {} : { shortAuthority };
  return {
    ...about,
    request: { method, authority, ...short, path: normal.path, target, scheme, headers, written, ...identity },
  };
}

/** `get`: answered with 400 in both modes. */
export function isMiscased(method: string): boolean {
  const upper = method.toUpperCase();
  return method !== upper && STANDARD_METHODS.includes(upper);
}

/** A peer as policy knows it: of its certificate only the ID counts. */
export function peerOf(spiffeId: SpiffeId): Peer {
  const certificate = { serial: "", issuer: "", fingerprint: "", notAfterMs: 0, validUntilMs: 0 };
  return { spiffeId, trustDomain: trustDomainOf(spiffeId), ...certificate };
}

/** A verified token as policy knows it, by its claims (RFC 7519 section 4.1; `azp`: OpenID Connect Core section 2). */
function identityOf(claims: Readonly<Record<string, unknown>>): RequestIdentity {
  const text = (name: string): string => (typeof claims[name] === "string" ? claims[name] : "");
  const audiences = [claims["aud"]].flat().filter((one) => typeof one === "string");
  return { issuer: text("iss"), subject: text("sub"), audiences, presenter: text("azp"), claims };
}
