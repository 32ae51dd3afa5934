import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import { normalizeForPolicy } from "../authz/normalize-for-policy.ts";
import type { InboundJwtSvid, XfccMode } from "../config/sidecar-config.ts";
import type { CallFacts, ConnectionFacts, HeaderList, RequestIdentity } from "../core/call-facts.ts";
import type { CallOutcome, ConnectionContext } from "../core/call-outcome.ts";
import type { AskDecision, CallDecision, Permit } from "../core/decision.ts";
import { CountersignError } from "../core/errors.ts";
import type { Peer, Svid } from "../core/identity.ts";
import { type Asked, askProviders } from "./ask-providers.ts";
import { changeCall, stillNamed } from "./change-request.ts";
import { decideInboundNow, openPathProblem } from "./decide-call.ts";
import { connectionQuestion, requestQuestion } from "./ext-authz/check-question.ts";
import type { BodySource } from "./ext-authz/check-with-body.ts";
import type { AnswerChanges } from "./ext-authz/provider.ts";
import { isTrustedProxy, requestFacts } from "./http-facts.ts";
import type { EditedFields, HttpService, PreparedCall } from "./http-service.ts";
import { HttpServiceBase } from "./http-service-base.ts";
import type { OutgoingRequest } from "./http-streams.ts";
import { type HeadLines, SharedLines } from "./http1/head-lines.ts";
import type { Fields, RequestHead, ResponseHead } from "./http1/http1-events.ts";
import { HOPS, MAX_HOPS, XFCC, xfccElement } from "./identity-fields.ts";
import { checkJwtSvid, refuseTwoIdentities } from "./jwt-svid-check.ts";
import { Refusal } from "./refusal.ts";
import { authenticate, withoutOwnHeaders } from "./request-auth/authenticate.ts";
import { responseLines, type ScannedFields, scanRequestFields } from "./request-fields.ts";
import type { PolicyInForce, Runtime } from "./runtime.ts";
import type { CallUpstream } from "./upstream/upstream.ts";

/** What an inbound connection knows about itself once its caller is known. */
export interface InboundContext {
  readonly context: ConnectionContext;
  readonly facts: ConnectionFacts;
  readonly peer: Peer | undefined;
  /** The SVID that this side showed in the handshake; undefined for plaintext. */
  readonly svid: Svid | undefined;
  readonly xfcc: XfccMode;
  readonly upgrades: readonly string[];
  /** The JWT-SVID that requests bring; undefined: none is looked for. */
  readonly jwtSvid: InboundJwtSvid | undefined;
  readonly pool: CallUpstream;
  /** The connection is to end: drain, expiry, age. */
  closing: boolean;
}

/** HTTP from the mesh to our app: policy decides who may call, and the app learns from us alone who it was. */
export class InboundHttp extends HttpServiceBase implements HttpService {
  readonly #inbound: InboundContext;
  /** Of requests that name none. */
  readonly #scheme: "http" | "https";
  readonly #xfcc: string | undefined;
  /** What the app gets with each request of this connection. */
  readonly #shared: SharedLines;
  /** What policy sees of that, with the hop count: for calls without a client certificate of their own, and so many hops. */
  #written: HeaderList = [];
  #writtenHops = -1;
  /** Whether the TCP peer is a trusted proxy, by the set that was in force when it was asked. */
  #sourceTrusted = false;
  #trustedBy: PolicyInForce | undefined;

  constructor(runtime: Runtime, inbound: InboundContext) {
    super(runtime);
    this.#inbound = inbound;
    const { peer, svid } = inbound;
    this.#xfcc =
      peer === undefined || svid === undefined
        ? undefined
        : xfccElement(svid.spiffeId, peer.fingerprint, peer.spiffeId);
    this.#scheme = inbound.context.tlsVersion === undefined ? "http" : "https";
    const own = this.#xfcc !== undefined && inbound.xfcc === "sanitize_set" ? [XFCC, this.#xfcc] : [];
    this.#shared = new SharedLines(["x-forwarded-proto", this.#scheme, ...own]);
  }

  get context(): ConnectionContext {
    return this.#inbound.context;
  }

  get closing(): boolean {
    return this.#inbound.closing || this.runtime.draining;
  }

  prepare(head: RequestHead, outcome: CallOutcome): PreparedCall | CountersignError {
    const { inForce } = this.runtime;
    if (this.#trustedBy !== inForce) {
      this.#trustedBy = inForce;
      this.#sourceTrusted = isTrustedProxy(this.#inbound.facts.remoteIp, inForce);
    }
    if (head.form === "authority") {
      return new CountersignError("E_HTTP_CONNECT", "this listener stands for one app and opens no tunnels");
    }
    const scanned = scanRequestFields(head.fields, head.connectionNames, this.#sourceTrusted);
    const hostless = hostlessProblem(inForce.policy, head.authority);
    if (hostless !== undefined) return hostless;
    if (scanned.hops >= MAX_HOPS) return new CountersignError("E_LOOP", `the call passed ${scanned.hops} sidecars`);
    const normalized = normalizeForPolicy(inForce.policy, head.path, head.query);
    if (!normalized.ok) return new CountersignError(normalized.code, normalized.reason);
    outcome.path = normalized.path;
    this.trace(scanned, outcome);
    const { path } = normalized;
    return this.#facts(head, path, path + head.query, scanned);
  }

  #facts(head: RequestHead, path: string, target: string, scanned: ScannedFields): PreparedCall {
    const { facts } = this.#inbound;
    const trusted = this.#sourceTrusted;
    const scheme = this.#scheme;
    const written = this.#writtenFields(scanned);
    return requestFacts(
      facts,
      this.runtime.inForce,
      head,
      path,
      target,
      scanned,
      trusted,
      scheme,
      head.authority,
      written,
    );
  }

  /** The fields that the app gets from us whatever the caller sends, so that policy compares what the app reads. */
  #writtenFields({ hops, clientCert }: ScannedFields): HeaderList {
    const cert = clientCert === undefined ? undefined : this.#passedClientCert(clientCert);
    if (cert !== undefined) return this.#fieldsToApp(hops, cert);
    if (this.#writtenHops !== hops) {
      const own = this.#inbound.xfcc === "forward_only" ? undefined : this.#xfcc;
      this.#written = this.#fieldsToApp(hops, own);
      this.#writtenHops = hops;
    }
    return this.#written;
  }

  #fieldsToApp(hops: number, cert: string | undefined): HeaderList {
    const always = ["x-forwarded-proto", this.#scheme, HOPS, String(hops + 1)];
    return cert === undefined ? always : [...always, XFCC, cert];
  }

  override openProblem(
    { request: { authority, path } }: PreparedCall,
    head: RequestHead,
  ): CountersignError | undefined {
    const { policy } = this.runtime.inForce;
    // as received: Istio's normal forms may have other normal forms themselves
    const normalized = normalizeForPolicy(policy, head.path, head.query);
    const now = normalized.ok ? normalized.path : new CountersignError(normalized.code, normalized.reason);
    return hostlessProblem(policy, authority) ?? openPathProblem(path, now);
  }

  override authenticate(head: RequestHead, call: PreparedCall): PreparedCall | Promise<PreparedCall | Refusal> {
    const { jwtSvid: rule, peer, svid } = this.#inbound;
    if (rule === undefined) return this.#endUser(head, call, undefined);
    const { verifyJwtSvid, identity } = this.runtime;
    const question = { rule, verify: verifyJwtSvid, identity, ours: svid?.spiffeId, isVerified: peer !== undefined };
    const found = checkJwtSvid(call.scanned.kept, question, Date.now());
    if (found instanceof Refusal) return Promise.resolve(found);
    if (found === undefined) return this.#endUser(head, call, undefined);
    const edited = { fields: found.fields, query: head.query };
    const without = { ...head, fields: found.fields };
    return this.#endUser(without, this.#again(head, call, edited, found.identity), found.identity);
  }

  /** `workload`: whom a JWT-SVID has proven already. */
  #endUser(
    head: RequestHead,
    call: PreparedCall,
    workload: RequestIdentity | undefined,
  ): PreparedCall | Promise<PreparedCall | Refusal> {
    const { tokens } = this.runtime.inForce;
    if (tokens === undefined) return call;
    const asked = authenticate(tokens, head, call, (fields, query, identity, own) =>
      this.#again(head, call, { fields, query, own }, identity ?? workload),
    );
    if (workload === undefined) return asked;
    const alone = (proven: PreparedCall | Refusal): PreparedCall | Refusal =>
      proven instanceof Refusal || proven.request.identity === workload ? proven : refuseTwoIdentities();
    if (asked instanceof Promise) return asked.then(alone);
    const judged = alone(asked);
    return judged instanceof Refusal ? Promise.resolve(judged) : judged;
  }

  /** The call with other fields and another query, looked through as if they had come so: what nobody may send is taken out of them too. */
  #again(
    head: RequestHead,
    call: PreparedCall,
    edited: EditedFields,
    identity: RequestIdentity | undefined,
  ): PreparedCall {
    const { path } = call.request;
    const scanned = scanRequestFields(edited.fields, stillNamed(head.connectionNames, edited), this.#sourceTrusted);
    const again = this.#facts(head, path, path + edited.query, scanned);
    const { responseFields } = call;
    return { ...again, request: { ...again.request, identity }, edited, responseFields };
  }

  ask(
    decision: AskDecision,
    head: RequestHead,
    call: PreparedCall,
    outcome: CallOutcome,
    signal: AbortSignal,
    body: BodySource,
  ): Promise<Asked<PreparedCall> | Refusal> {
    const { context, facts } = this.#inbound;
    const { policy, providers } = this.runtime.inForce;
    const connection = connectionQuestion(context, facts, this.#xfcc, outcome);
    return askProviders(decision, call, {
      providers,
      question: (asked) => requestQuestion(connection, context.tlsVersion !== undefined, head, asked, outcome),
      changed: (asked, changes) => this.changed(head, asked, changes),
      decide: (asked) => decideInboundNow(policy, asked),
      body,
      signal,
    });
  }

  changed(head: RequestHead, call: PreparedCall, changes: AnswerChanges): PreparedCall {
    return changeCall(head, call, changes, (edited) => this.#again(head, call, edited, call.request.identity));
  }

  /** What only a verified token may say cannot come behind the body either. */
  override requestTrailers(trailers: Fields): Fields | undefined {
    const own = this.runtime.inForce.tokens?.ownHeaders;
    const safe = super.requestTrailers(trailers);
    return own === undefined || safe === undefined ? safe : withoutOwnHeaders(safe, own);
  }

  decide(facts: CallFacts): CallDecision {
    return decideInboundNow(this.runtime.inForce.policy, facts);
  }

  outgoing(head: RequestHead, call: PreparedCall, outcome: CallOutcome): OutgoingRequest {
    const { scanned } = call;
    const lines = this.forwardedLines(scanned, outcome, this.#shared);
    const cert = this.#passedClientCert(scanned.clientCert);
    if (cert !== undefined) lines.add(XFCC, cert);
    const upgrade =
      head.upgrade !== undefined && this.#inbound.upgrades.includes(head.upgrade) ? head.upgrade : undefined;
    // the app gets what the calling app speaks, whatever ran between the sidecars; an upgrade is HTTP/1.1's
    const isHttp1 = head.version === 1 || (scanned.fromHttp1App && this.#inbound.peer !== undefined);
    const version = isHttp1 || upgrade !== undefined ? 1 : 2;
    return this.forwarded(head, call, lines, upgrade, version);
  }

  /** What a peer says about earlier hops is believed only where the configuration asks for it, and only from a verified peer. */
  #passedClientCert(received: string | undefined): string | undefined {
    const own = this.#xfcc;
    if (own === undefined) return undefined;
    switch (this.#inbound.xfcc) {
      case "sanitize_set":
        return undefined; // alone, it is among the shared lines
      case "append_forward":
        return received === undefined ? own : `${received},${own}`;
      case "forward_only":
        return received;
    }
  }

  upstream(_permit: Permit): CallUpstream {
    return this.#inbound.pool;
  }

  responseLines(head: ResponseHead, outcome: CallOutcome, final: boolean): HeadLines {
    // what the app calls ours is not ours: only a sidecar may say why a call was refused
    const lines = responseLines(head.fields, head.connectionNames, undefined);
    if (final && this.#inbound.peer !== undefined) lines.add("x-countersign-id", outcome.id);
    return lines;
  }

  /** Callers get the code and the decision id; the reason names rules of ours and stays in our audit log. */
  answerDetail(_detail: string): string {
    return "";
  }
}

function hostlessProblem(policy: CompiledPolicy, authority: string): CountersignError | undefined {
  if (authority !== "" || !policy.comparesHosts) return undefined;
  return new CountersignError("E_HTTP_HOST", "the request has no Host, and policies compare hosts");
}
