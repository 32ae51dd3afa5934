import { decisionAfter } from "../../authz/decide.ts";
import type { CallFacts, ConnectionFacts } from "../../core/call-facts.ts";
import type { CallOutcome, ConnectionContext } from "../../core/call-outcome.ts";
import type { AskDecision, CallDecision, Permit } from "../../core/decision.ts";
import { destinationText, hostText } from "../../core/egress-target.ts";
import { CountersignError } from "../../core/errors.ts";
import type { Asked } from "../ask-providers.ts";
import { browserPage } from "../browser-page.ts";
import { outboundPath } from "../decide-call.ts";
import type { BodySource } from "../ext-authz/check-with-body.ts";
import type { AnswerChanges } from "../ext-authz/provider.ts";
import { requestFacts } from "../http-facts.ts";
import type { HttpService, PreparedCall } from "../http-service.ts";
import { FROM_HTTP1_APP, HttpServiceBase } from "../http-service-base.ts";
import type { OutgoingRequest } from "../http-streams.ts";
import type { HeadLines } from "../http1/head-lines.ts";
import type { RequestHead, ResponseHead } from "../http1/http1-events.ts";
import { MAX_HOPS } from "../identity-fields.ts";
import type { Refusal } from "../refusal.ts";
import { responseLines, scanRequestFields } from "../request-fields.ts";
import type { Runtime } from "../runtime.ts";
import type { CallUpstream } from "../upstream/upstream.ts";
import { askAboutRequest, changedForward } from "./ask-about-request.ts";
import { decideForward, stillToAsk, untilAddressIsKnown } from "./decide-forward.ts";
import { type Destination, readDestination } from "./destination.ts";
import { ForwardCall } from "./forward-call.ts";
import type { ForwardListenerParts } from "./forward-listener-parts.ts";
import { isOtherProtocolsPort } from "./other-protocols-ports.ts";
import { namesThatEndHere } from "./own-credentials.ts";

/** What a connection to the egress proxy knows about itself. */
export interface ForwardHttpContext {
  readonly currentContext: () => ConnectionContext;
  /** Port of the proxy's listener; undefined: a Unix socket. */
  readonly listenPort: () => number | undefined;
  readonly facts: ConnectionFacts;
  readonly parts: ForwardListenerParts;
  /** Why this caller gets nothing. */
  readonly forbidden: CountersignError | undefined;
  /** Inside a tunnel: where it leads. Undefined: each request says it, in absolute form. */
  readonly tunnel: Destination | undefined;
  closing: boolean;
}

const HTTP_PORT = 80;
const FROM_PEERS: ReadonlySet<string> = new Set(["x-countersign-code", "x-countersign-id"]);

/** HTTP from our app to destinations that it names itself: each request in absolute form, or all of a tunnel's. */
export class ForwardHttp extends HttpServiceBase implements HttpService {
  readonly #forward: ForwardHttpContext;

  constructor(runtime: Runtime, forward: ForwardHttpContext) {
    super(runtime);
    this.#forward = forward;
  }

  get context(): ConnectionContext {
    return this.#forward.currentContext();
  }

  get closing(): boolean {
    return this.#forward.closing || this.runtime.draining;
  }

  prepare(head: RequestHead, outcome: CallOutcome): PreparedCall | CountersignError {
    const { tunnel, parts, facts, forbidden } = this.#forward;
    if (forbidden !== undefined) return forbidden;
    const { config } = parts;
    const scanned = scanRequestFields(head.fields, namesThatEndHere(head), true);
    if (scanned.hops >= MAX_HOPS) return new CountersignError("E_LOOP", `the call passed ${scanned.hops} sidecars`);
    const refuseBrowsers = config.browser === "refuse" && config.listen.kind === "tcp";
    const page = refuseBrowsers ? browserPage(scanned, config.origins) : undefined;
    if (page !== undefined) return page;
    const destination = tunnel === undefined ? this.#named(head) : this.#inTunnel(head, tunnel);
    if (destination instanceof CountersignError) return destination;
    const authority = destinationText(destination);
    outcome.authority = authority;
    this.trace(scanned, outcome);
    const path = outboundPath(this.runtime.inForce.policy, head.path, head.query);
    if (path instanceof CountersignError) return path;
    // the path goes as it came: it may be signed
    const target = head.path + head.query;
    const connection: ConnectionFacts = {
      ...facts,
      destinationIp: destination.isAddress ? destination.host : "",
      addressPending: !destination.isAddress,
      destinationPort: destination.port,
    };
    const prepared = requestFacts(
      connection,
      this.runtime.inForce,
      head,
      path,
      target,
      scanned,
      false,
      "http",
      authority,
    );
    const mayOmitPort = tunnel !== undefined || destination.port === HTTP_PORT;
    return new ForwardCall(prepared, destination, mayOmitPort ? hostText(destination) : undefined);
  }

  #named(head: RequestHead): Destination | CountersignError {
    if (head.form !== "absolute") {
      const detail = "a request to the egress proxy itself: it needs the whole URL (http://host/path) or CONNECT";
      return new CountersignError("E_EGRESS_TARGET", detail);
    }
    if (head.scheme !== "http") {
      return new CountersignError(
        "E_EGRESS_TARGET",
        "the egress proxy speaks no TLS for its callers: ask with CONNECT",
      );
    }
    const destination = readDestination(head.authority, HTTP_PORT, this.#forward.parts.config.forward);
    if (destination instanceof CountersignError || destination.mesh !== undefined) return destination;
    if (!isOtherProtocolsPort(destination.port)) return destination;
    const detail = `port ${destination.port} is another protocol's: HTTP is not sent there`;
    return new CountersignError("E_EGRESS_PORT", detail);
  }

  /** Policy has seen the tunnel's name; a request with another one would reach what it did not see. */
  #inTunnel(head: RequestHead, tunnel: Destination): Destination | CountersignError {
    const host =
      head.form === "authority" || head.scheme === "https"
        ? undefined
        : readDestination(head.authority, tunnel.port, this.#forward.parts.config.forward);
    if (
      host === undefined ||
      host instanceof CountersignError ||
      host.host !== tunnel.host ||
      host.port !== tunnel.port
    ) {
      const detail = `the tunnel leads to ${destinationText(tunnel)}, and this request to another host`;
      return new CountersignError("E_EGRESS_HOST", detail);
    }
    return tunnel;
  }

  decide(facts: CallFacts): CallDecision {
    const { policy } = this.runtime.inForce;
    const decision = decideForward(policy, facts, facts instanceof ForwardCall ? facts.shortAuthority : undefined);
    // under the same policy, as time passes, nobody is asked again
    if (facts instanceof ForwardCall && facts.allowedBy === policy.version) return stillToAsk(decision, facts.allowed);
    return untilAddressIsKnown(policy, facts, decision);
  }

  ask(
    _decision: AskDecision,
    head: RequestHead,
    call: PreparedCall,
    outcome: CallOutcome,
    signal: AbortSignal,
    body: BodySource,
  ): Promise<Asked<PreparedCall> | Refusal> {
    if (!(call instanceof ForwardCall)) throw new TypeError("a call that was not prepared here");
    const { context, runtime } = this;
    const { listenPort, parts } = this.#forward;
    const question = { inForce: runtime.inForce, pools: parts.pools, listenPort, context, head, outcome, signal, body };
    return askAboutRequest(call, question);
  }

  changed(head: RequestHead, call: PreparedCall, changes: AnswerChanges): PreparedCall {
    if (!(call instanceof ForwardCall)) throw new TypeError("a call that was not prepared here");
    return changedForward(head, call, changes, this.runtime.inForce);
  }

  outgoing(head: RequestHead, call: PreparedCall, outcome: CallOutcome): OutgoingRequest {
    const lines = this.forwardedLines(call.scanned, outcome);
    // a word between sidecars
    const inMesh = call instanceof ForwardCall && call.destination.mesh !== undefined;
    if (head.version === 1 && inMesh) lines.addShared(FROM_HTTP1_APP);
    const upgrade = head.upgrade === "websocket" ? head.upgrade : undefined;
    return this.forwarded(head, call, lines, upgrade, head.version, undefined);
  }

  upstream(_permit: Permit, facts: CallFacts | undefined): CallUpstream {
    if (!(facts instanceof ForwardCall)) throw new TypeError("a call that was not prepared here");
    const { pools } = this.#forward.parts;
    const judge = (address: string): CountersignError | undefined => {
      const there = facts.at(address);
      const verdict = decisionAfter(
        decideForward(this.runtime.inForce.policy, there, facts.shortAuthority),
        facts.allowed,
      );
      if (verdict.kind === "deny") return new CountersignError(verdict.code, verdict.reason);
      facts.goesTo(there.connection);
      return undefined;
    };
    return {
      acquire: (permit, fresh, request, waiter) =>
        pools.acquire(facts.destination, facts.addresses, judge, permit, fresh, request, waiter),
      takeRetry: () => pools.takeRetry(),
      requestTimeoutMs: pools.requestTimeoutMs,
      streamTimeoutMs: pools.streamTimeoutMs,
    };
  }

  /** Fields of ours count only where somebody has proven to be a sidecar of the mesh. */
  responseLines(head: ResponseHead, outcome: CallOutcome, _final: boolean): HeadLines {
    return responseLines(head.fields, head.connectionNames, outcome.destination === undefined ? undefined : FROM_PEERS);
  }

  /** Our own app may know why its call was refused. */
  answerDetail(detail: string): string {
    return detail;
  }
}
