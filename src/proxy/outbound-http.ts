import type { CallFacts, ConnectionFacts } from "../core/call-facts.ts";
import type { CallOutcome, ConnectionContext } from "../core/call-outcome.ts";
import type { AskDecision, CallDecision, Permit } from "../core/decision.ts";
import { CountersignError } from "../core/errors.ts";
import { type Asked, askProviders } from "./ask-providers.ts";
import { browserPage } from "./browser-page.ts";
import { changeCall, stillNamed } from "./change-request.ts";
import { decideConfiguredNow, outboundPath } from "./decide-call.ts";
import { askableProviders } from "./ext-authz/askable-providers.ts";
import { outboundQuestion, requestQuestion } from "./ext-authz/check-question.ts";
import type { BodySource } from "./ext-authz/check-with-body.ts";
import type { AnswerChanges } from "./ext-authz/provider.ts";
import { requestFacts } from "./http-facts.ts";
import type { EditedFields, HttpService, PreparedCall } from "./http-service.ts";
import { FROM_HTTP1_APP, HttpServiceBase } from "./http-service-base.ts";
import type { OutgoingRequest } from "./http-streams.ts";
import type { HeadLines } from "./http1/head-lines.ts";
import type { Fields, RequestHead, ResponseHead } from "./http1/http1-events.ts";
import { MAX_HOPS } from "./identity-fields.ts";
import { Refusal } from "./refusal.ts";
import { responseLines, scanRequestFields } from "./request-fields.ts";
import type { Runtime } from "./runtime.ts";
import type { CallUpstream } from "./upstream/upstream.ts";

/** What an outbound connection knows about itself. */
export interface OutboundContext {
  /** Made anew when our SVID changes: an app's connection outlives many of them. */
  readonly currentContext: () => ConnectionContext;
  readonly facts: ConnectionFacts;
  /** Of the listener; undefined: a Unix socket. */
  readonly listenPort: number | undefined;
  /** Of which the server must prove one, as policies write them. */
  readonly principals: readonly string[];
  /** Host toward the server, or undefined: as the app sent it. */
  readonly authority: string | undefined;
  readonly origins: readonly string[];
  /** Whether requests that a browser page makes are refused: a page is not the app. */
  readonly refuseBrowsers: boolean;
  /** A JWT-SVID of ours that goes with each request; undefined: none does. */
  readonly jwtSvid: { readonly header: string; readonly token: () => string | CountersignError } | undefined;
  readonly pool: CallUpstream;
  closing: boolean;
}

/** The fields of ours that a verified server's sidecar may send back: the app reads there why a call was refused. */
const FROM_PEERS: ReadonlySet<string> = new Set(["x-countersign-code", "x-countersign-id"]);

const OWN_TOKEN_STATUS = 502;

/** HTTP from our app to one configured destination. */
export class OutboundHttp extends HttpServiceBase implements HttpService {
  readonly #outbound: OutboundContext;

  constructor(runtime: Runtime, outbound: OutboundContext) {
    super(runtime);
    this.#outbound = outbound;
  }

  get context(): ConnectionContext {
    return this.#outbound.currentContext();
  }

  get closing(): boolean {
    return this.#outbound.closing || this.runtime.draining;
  }

  prepare(received: RequestHead, outcome: CallOutcome): PreparedCall | CountersignError {
    const head = this.#sent(received);
    outcome.authority = head.authority;
    if (head.form === "authority") {
      return new CountersignError("E_HTTP_CONNECT", "this listener leads to one destination; it is no egress proxy");
    }
    const scanned = scanRequestFields(head.fields, head.connectionNames, true, this.#outbound.authority);
    if (scanned.hops >= MAX_HOPS) return new CountersignError("E_LOOP", `the call passed ${scanned.hops} sidecars`);
    const { refuseBrowsers, origins } = this.#outbound;
    const page = refuseBrowsers ? browserPage(scanned, origins) : undefined;
    if (page !== undefined) return page;
    const path = outboundPath(this.runtime.inForce.policy, head.path, head.query);
    if (path instanceof CountersignError) return path;
    const ownToken = this.#ownToken(scanned.kept);
    if (ownToken instanceof CountersignError) return ownToken;
    this.trace(scanned, outcome);
    // the path goes as it came: it may be signed
    const target = head.path + head.query;
    const call = requestFacts(this.#outbound.facts, this.runtime.inForce, head, path, target, scanned, false);
    return ownToken === undefined ? call : { ...call, ownToken };
  }

  /** The request with the Host that the server gets: what the app wrote there decides nothing where it is replaced. */
  #sent(head: RequestHead): RequestHead {
    const { authority } = this.#outbound;
    return authority === undefined ? head : { ...head, authority };
  }

  /** The value that goes into the header of our JWT-SVID. An app's own token there is refused: of two, nobody knows which counts. */
  #ownToken({ lower }: Fields): string | CountersignError | undefined {
    const { jwtSvid } = this.#outbound;
    if (jwtSvid === undefined) return undefined;
    const { header } = jwtSvid;
    if (lower.some((name) => name === header || name.replaceAll("_", "-") === header))
      return new CountersignError("E_JWT_SVID_CONFLICT", `the app sends a ${header} of its own`);
    const token = jwtSvid.token();
    if (token instanceof CountersignError) return token;
    return header === "authorization" ? `Bearer ${token}` : token;
  }

  decide(facts: CallFacts): CallDecision {
    return decideConfiguredNow(this.runtime.inForce.policy, facts, this.#outbound.principals);
  }

  async ask(
    decision: AskDecision,
    head: RequestHead,
    call: PreparedCall,
    outcome: CallOutcome,
    signal: AbortSignal,
    body: BodySource,
  ): Promise<Asked<PreparedCall> | Refusal> {
    const { facts, principals, listenPort } = this.#outbound;
    const { policy, providers } = this.runtime.inForce;
    const connection = outboundQuestion(this.context, facts, principals, outcome);
    const asked = await askProviders(decision, call, {
      providers: askableProviders(listenPort, providers),
      question: (current) => requestQuestion(connection, false, this.#sent(head), current, outcome),
      changed: (current, changes) => this.changed(head, current, changes),
      decide: (current) => decideConfiguredNow(policy, current, principals),
      body,
      signal,
    });
    if (asked instanceof Refusal) return asked;
    // a provider is no more than the app: it sets no second token
    const problem = this.#ownToken(asked.call.scanned.kept);
    return problem instanceof CountersignError ? new Refusal(problem, OWN_TOKEN_STATUS, []) : asked;
  }

  changed(head: RequestHead, call: PreparedCall, changes: AnswerChanges): PreparedCall {
    return changeCall(head, call, changes, (edited) => this.#again(head, call, edited));
  }

  /** The call with other fields, looked through as if the app had sent them so. */
  #again(head: RequestHead, call: PreparedCall, edited: EditedFields): PreparedCall {
    const { facts, authority } = this.#outbound;
    const scanned = scanRequestFields(edited.fields, stillNamed(head.connectionNames, edited), true, authority);
    const { target } = call;
    const sent = this.#sent(head);
    const again = requestFacts(facts, this.runtime.inForce, sent, call.request.path, target, scanned, false);
    return { ...again, edited, ownToken: call.ownToken };
  }

  outgoing(head: RequestHead, call: PreparedCall, outcome: CallOutcome): OutgoingRequest {
    const lines = this.forwardedLines(call.scanned, outcome);
    if (head.version === 1) lines.addShared(FROM_HTTP1_APP);
    const { jwtSvid } = this.#outbound;
    if (jwtSvid !== undefined && call.ownToken !== undefined) lines.add(jwtSvid.header, call.ownToken);
    const { authority } = this.#outbound;
    const upgrade = head.upgrade === "websocket" ? head.upgrade : undefined;
    return this.forwarded(head, call, lines, upgrade, head.version, authority);
  }

  upstream(_permit: Permit): CallUpstream {
    return this.#outbound.pool;
  }

  responseLines(head: ResponseHead, _outcome: CallOutcome, _final: boolean): HeadLines {
    return responseLines(head.fields, head.connectionNames, FROM_PEERS);
  }

  /** Our own app may know why its call was refused. */
  answerDetail(detail: string): string {
    return detail;
  }
}
