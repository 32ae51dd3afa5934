import type { AuditSlot } from "../core/audit-log.ts";
import type { CallOutcome } from "../core/call-outcome.ts";
import type { Decision, Permit } from "../core/decision.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { asCountersignError, CountersignError } from "../core/errors.ts";
import { statusOf } from "./answer-status.ts";
import type { Asked } from "./ask-providers.ts";
import { finishOutcome, openRecord } from "./call-outcomes.ts";
import { providersOf } from "./decide-call.ts";
import { grpcAnswer, grpcStatusOf } from "./grpc-answer.ts";
import { grpcStatusIn, isGrpcRequest } from "./grpc-fields.ts";
import type { HttpService, PreparedCall } from "./http-service.ts";
import type {
  DownstreamStream,
  OutgoingRequest,
  OutgoingResponse,
  UpstreamReceiver,
  UpstreamStream,
} from "./http-streams.ts";
import type { Fields, RequestHead, ResponseHead } from "./http1/http1-events.ts";
import { isWebSocketAccept } from "./http1/websocket-accept.ts";
import type { WindowAllowance } from "./http2/window-allowance.ts";
import { localAnswer } from "./local-answer.ts";
import { Refusal } from "./refusal.ts";
import type { CallUpstream } from "./upstream/upstream.ts";

/** Who owns the call: the downstream connection. */
export interface CallOwner {
  /** The response is complete or broken and the record is written, at `nowMs` (monotonic). `reusable`: the connection may carry another
   *  call. */
  onCallDone(reusable: boolean, nowMs: number): void;
}

const NO_TRAILERS = undefined;
const NO_FIELDS: readonly string[] = [];

/** One HTTP call from its parsed head to its audit record. Knows neither HTTP version nor direction: streams and service do. */
export class HttpCall implements UpstreamReceiver {
  readonly head: RequestHead;
  readonly outcome: CallOutcome;
  readonly #service: HttpService;
  readonly #downstream: DownstreamStream;
  readonly #owner: CallOwner;
  /** As it came. */
  #prepared: PreparedCall | undefined;
  /** As policy sees it: with the identity that its token proved, without what is not passed on. */
  #facts: PreparedCall | undefined;
  /** Set while a token's keys or a provider are waited for. */
  #waitingFor: AbortController | undefined;
  /** Providers that were asked about it last. */
  #askedProviders = "";
  #permit: Permit | undefined;
  #slot: AuditSlot | undefined;
  #request: OutgoingRequest | undefined;
  #upstream: UpstreamStream | undefined;
  /** Body bytes that came while the upstream connection was being made. At most one read's worth: the caller is paused. */
  #waiting: Uint8Array[] | undefined;
  #requestEnded = false;
  #requestTrailers: Fields | undefined;
  #responseStarted = false;
  #tunnel = false;
  #tunnelHalfClosed = false;
  #done = false;
  /** The address at which the call failed before it was tried again. */
  failedAt: string | undefined;
  /** Request bytes are read and dropped: the answer is already given. */
  #discarding = false;
  #connectionClose: boolean;
  #upstreamStartMs = 0;
  #nextRecordMs: number;
  /** Monotonic time by which the response must have begun; Infinity: no such limit now. */
  #firstByteDeadlineMs = Number.POSITIVE_INFINITY;
  /** By which the whole call must be over. */
  #requestDeadlineMs = Number.POSITIVE_INFINITY;
  /** By which a byte must have passed; moved by each. */
  #streamDeadlineMs = Number.POSITIVE_INFINITY;
  #streamTimeoutMs = 0;

  constructor(
    service: HttpService,
    head: RequestHead,
    outcome: CallOutcome,
    downstream: DownstreamStream,
    owner: CallOwner,
  ) {
    this.#service = service;
    this.head = head;
    this.outcome = outcome;
    this.#downstream = downstream;
    this.#owner = owner;
    this.#connectionClose = !head.keepAlive;
    this.#nextRecordMs = outcome.durationMs + LONG_CALL_MS;
  }

  get requestEnded(): boolean {
    return this.#requestEnded;
  }

  get done(): boolean {
    return this.#done;
  }

  get allowance(): WindowAllowance | undefined {
    return this.#downstream.allowance;
  }

  get isTunnel(): boolean {
    return this.#tunnel;
  }

  /** Monotonic; `onDeadline` is to be called then. Infinity: nothing is waited for that has a limit. */
  get deadlineMs(): number {
    return Math.min(this.#firstByteDeadlineMs, this.#requestDeadlineMs, this.#streamDeadlineMs);
  }

  start(): void {
    const prepared = this.#service.prepare(this.head, this.outcome);
    if (prepared instanceof CountersignError) {
      this.refuse(prepared.code, prepared.message);
      return;
    }
    this.#prepared = prepared;
    const { overload } = this.#service;
    if (overload !== undefined) {
      this.refuse(overload.code, overload.message);
      return;
    }
    if (this.#admit(prepared)) this.#forward();
  }

  /** Authenticates and decides by the policy in force. True: the call may go on now, as nearly always. False: it was refused, or it waits
   *  and goes on by itself. */
  #admit(prepared: PreparedCall): boolean {
    const authenticated = this.#service.authenticate(this.head, prepared);
    if (!(authenticated instanceof Promise)) return this.#authorize(authenticated);
    this.#wait(new AbortController(), authenticated);
    return false;
  }

  /** Decides and, on a denial, answers. */
  #authorize(facts: PreparedCall): boolean {
    this.#facts = facts;
    if (facts.request.identity !== undefined) this.outcome.principal = requestPrincipal(facts);
    const decision = this.#service.decide(facts);
    if (decision.kind !== "ask") return this.#decided(decision);
    this.#askedProviders = providersOf(decision);
    const waiting = new AbortController();
    this.#wait(waiting, this.#service.ask(decision, this.head, facts, this.outcome, waiting.signal));
    return false;
  }

  /** A call that is open already keeps what it has, or ends. */
  #decided(decision: Decision): boolean {
    const { outcome } = this;
    const open = this.#open;
    outcome.notes = decision.notes;
    if (decision.kind === "allow") {
      this.#permit = decision.permit;
      if (open) return false;
      outcome.decision = "allow";
      outcome.policyVersion = decision.permit.policyVersion;
      outcome.rule = decision.permit.rule;
      outcome.reason = decision.reason;
      return true;
    }
    this.#permit = undefined;
    outcome.policyVersion = decision.policyVersion;
    outcome.rule = decision.rule;
    outcome.nearest = decision.nearest;
    if (open) outcome.close = "policy-changed";
    this.refuse(decision.code, decision.reason);
    return false;
  }

  /** Something of it has left toward the upstream or the caller. */
  get #open(): boolean {
    return this.#responseStarted || this.#upstream !== undefined;
  }

  /** Holds the call until the answer: a body meanwhile stays with the caller, but for one read. A newer wait replaces this one. */
  #wait(waiting: AbortController, answer: Promise<PreparedCall | Asked<PreparedCall> | Refusal>): void {
    this.#waitingFor?.abort();
    this.#waitingFor = waiting;
    const version = this.#service.policyVersion;
    void answer
      .catch(
        (error: unknown) =>
          new Refusal(asCountersignError(error, "E_EXT_AUTHZ_FAILED", "the call could not be admitted"), 503, []),
      )
      .then((result) => {
        if (this.#done || this.#waitingFor !== waiting) return;
        this.#waitingFor = undefined;
        if (this.#goesOn(result, version)) this.#forward();
      });
  }

  #goesOn(result: PreparedCall | Asked<PreparedCall> | Refusal, version: string): boolean {
    const prepared = this.#prepared;
    if (prepared === undefined) throw new TypeError("waited before prepare");
    // what was waited for was asked by a policy that is not in force any more
    if (version !== this.#service.policyVersion) return this.#admit(prepared);
    if (result instanceof Refusal) {
      const { error, status, rule } = result;
      this.outcome.policyVersion = version;
      this.outcome.rule = rule;
      this.outcome.decision = status === 503 ? "error" : "deny";
      if (this.#open) this.outcome.close = "policy-changed";
      this.refuse(error.code, error.message, status, result);
      return false;
    }
    if (!("decision" in result)) return this.#authorize(result);
    const facts = result.call;
    this.outcome.principal = requestPrincipal(facts);
    this.#facts = facts;
    return this.#decided(result.decision);
  }

  #forward(): void {
    const facts = this.#facts;
    if (facts === undefined) throw new TypeError("forwarded before prepare");
    this.#slot ??= this.#service.audit.reserve();
    if (this.#slot === undefined) {
      this.refuse("E_AUDIT_UNAVAILABLE", "no audit record could be reserved");
      return;
    }
    const request = this.#service.outgoing(this.head, facts, this.outcome);
    this.#request = request;
    // an Upgrade that is not passed on is a request without it; an extended CONNECT is nothing without its tunnel
    if (this.head.version === 2 && this.head.upgrade !== undefined && request.upgrade === undefined) {
      this.refuse("E_HTTP_UPGRADE", `the listener passes no ${this.head.upgrade} on`);
      return;
    }
    this.#acquire(false);
  }

  /** A new policy is in force, or time went on and the policy depends on it: a call that is no longer allowed ends, whatever state it is in. */
  reauthorize(): void {
    if (this.#done || this.#prepared === undefined || this.#permit === undefined) return;
    const isNew = this.#permit.policyVersion !== this.#service.policyVersion;
    // one that still waits for an upstream is decided anew once it has it; one that waits for an answer, when it comes
    if (!this.#open || (!isNew && (!this.#service.dependsOnTime || this.#waitingFor !== undefined))) return;
    if (isNew) this.#admit(this.#prepared);
    else this.#decideAsTimePasses();
  }

  /** The same policy at another time: nobody is asked again who was asked before. */
  #decideAsTimePasses(): void {
    if (this.#facts === undefined) return;
    const decision = this.#service.decide(this.#facts);
    if (decision.kind !== "ask") this.#decided(decision);
    else if (providersOf(decision) === this.#askedProviders) this.#decided(decision.decision);
    else this.#authorize(this.#facts);
  }

  /** About twice a second: long calls leave records of being open. */
  onTick(): void {
    const nowMs = this.#service.nowMs();
    if (nowMs < this.#nextRecordMs || this.#done) return;
    const first = this.#nextRecordMs === this.outcome.durationMs + LONG_CALL_MS;
    this.#nextRecordMs = nowMs + PROGRESS_MS;
    // until the call ends, its outcome holds the monotonic start in place of the duration
    this.#service.audit.note(openRecord(this.outcome, first && !this.#tunnel ? "start" : "progress", nowMs));
  }

  #acquire(fresh: boolean): void {
    const permit = this.#permit;
    if (permit === undefined) throw new TypeError("acquire without a permit");
    this.#upstreamStartMs = this.#service.nowMs();
    const request = this.#request;
    if (request === undefined) throw new TypeError("acquire before the request was made");
    const upstream = this.#service.upstream(permit, this.#facts);
    if (!fresh && request.upgrade === undefined) this.#limit(upstream);
    upstream.acquire(permit, fresh, request, this);
  }

  #limit({ requestTimeoutMs, streamTimeoutMs }: CallUpstream): void {
    if (requestTimeoutMs > 0) this.#requestDeadlineMs = this.#upstreamStartMs + requestTimeoutMs;
    this.#streamTimeoutMs = streamTimeoutMs;
    this.#noteBytes();
  }

  #noteBytes(): void {
    if (this.#streamTimeoutMs > 0) this.#streamDeadlineMs = this.#service.nowMs() + this.#streamTimeoutMs;
  }

  /** The pool's answer: a connection. Returns false if the call no longer wants it. */
  onAcquired(upstream: UpstreamStream, destination: CallOutcome["destination"], address: string): boolean {
    if (this.#done) return false;
    if (this.#permit?.policyVersion !== this.#service.policyVersion) {
      // nothing was sent: it begins anew, by the policy in force
      this.start();
      return false;
    }
    const request = this.#request;
    if (request === undefined) throw new TypeError("acquired before the request was made");
    this.outcome.destination = destination;
    this.outcome.destinationAddress = address;
    this.#upstream = upstream;
    try {
      upstream.send(request, this);
    } catch (error) {
      this.#unwritable(error);
      return true;
    }
    if (this.#downstream.congested) upstream.sipResponse();
    if (this.#waiting !== undefined) {
      for (const chunk of this.#waiting) upstream.data(chunk);
      this.#waiting = undefined;
    }
    if (this.#requestEnded) this.#endUpstream();
    else if (!upstream.congested) this.#downstream.resumeRequest();
    return true;
  }

  /** The pool's answer: none. */
  onAcquireFailed(error: CountersignError): void {
    if (this.#done) return;
    this.#fail(error);
  }

  #endUpstream(): void {
    this.#upstream?.end(this.#requestTrailers);
    if (this.#tunnel || this.#responseStarted || this.#request?.upgrade !== undefined) return;
    // a gRPC method may take its time: its caller says by a deadline of its own how much
    if (this.#request?.needsHttp2 === true) return;
    // RFC 9110 15.6.5: the gateway's own patience, counted from the last request byte.
    this.#firstByteDeadlineMs = this.#service.firstByteDeadline();
  }

  // ── from the caller ──

  onRequestData(chunk: Uint8Array): void {
    if (this.#done) return;
    this.outcome.bytesIn += chunk.length;
    if (this.#discarding) return;
    const upstream = this.#upstream;
    if (upstream === undefined) {
      this.#waiting ??= [];
      this.#waiting.push(Buffer.from(chunk));
      this.#downstream.pauseRequest();
      return;
    }
    this.#noteBytes();
    upstream.data(chunk);
    if (upstream.congested) this.#downstream.pauseRequest();
  }

  onRequestEnd(trailers: Fields | undefined): void {
    this.#requestEnded = true;
    if (this.#done) return;
    this.#requestTrailers = trailers === undefined ? undefined : this.#service.requestTrailers(trailers);
    if (this.#upstream !== undefined && !this.#discarding) this.#endUpstream();
  }

  /** The caller's connection broke, or its bytes are no HTTP any more; `detail` says how, where somebody knows. */
  onCallerGone(reason: string, detail = "the caller's connection ended before the response was complete"): void {
    if (this.#done) return;
    this.outcome.close = reason;
    if (!this.#tunnel) {
      this.outcome.decision = "error";
      this.outcome.reason = "E_CALLER_GONE";
      this.outcome.detail = detail;
    }
    this.#giveUpUpstream();
    this.#finish(false);
  }

  /** Half-close of a tunnel by the caller. */
  onTunnelEnd(): void {
    if (this.#done) return;
    this.#upstream?.end(NO_TRAILERS);
    if (this.#tunnelHalfClosed) this.#finish(false);
    this.#tunnelHalfClosed = true;
  }

  onDownstreamDrain(): void {
    this.#upstream?.resumeResponse();
  }

  // ── from the upstream ──

  onResponseHead(head: ResponseHead): void {
    if (this.#done) return;
    const { outcome } = this;
    if (head.status === 101) {
      this.#startTunnel(head);
      return;
    }
    if (
      head.status >= 200 &&
      head.status < 300 &&
      this.#request?.upgrade !== undefined &&
      outcome.protocol === "http/2"
    ) {
      // RFC 8441 section 5: there 2xx says that the tunnel is open, so that this answer cannot be passed on
      this.#giveUpUpstream();
      this.#fail(
        new CountersignError("E_UPSTREAM_PROTOCOL", `the app answered ${head.status} instead of switching protocols`),
      );
      return;
    }
    if (head.status < 200) {
      if (this.head.minor === 0) return;
      try {
        this.#downstream.inform(head.status, head.reason, this.#service.responseLines(head, outcome, false));
      } catch (error) {
        this.#unwritable(error);
      }
      return;
    }
    this.#firstByteDeadlineMs = Number.POSITIVE_INFINITY;
    this.#noteBytes();
    this.#responseStarted = true;
    outcome.upstreamMs = this.#service.nowMs() - this.#upstreamStartMs;
    outcome.status = head.status;
    // a response of headers alone has its gRPC status among them
    if (outcome.grpcService !== undefined) outcome.grpcStatus = grpcStatusIn(head.fields);
    const framing =
      this.head.minor === 0 && head.framing.kind === "chunked"
        ? CLOSE_FRAMING
        : this.head.minor === 1 && head.framing.kind === "close"
          ? CHUNKED_FRAMING
          : head.framing;
    if (framing.kind === "close" || this.#service.closing) this.#connectionClose = true;
    this.#respond({
      status: head.status,
      reason: head.reason,
      lines: this.#service.responseLines(head, outcome, true),
      fields: this.#facts?.responseFields ?? NO_FIELDS,
      framing,
      close: this.#connectionClose,
      upgrade: undefined,
      declaredLength: head.declaredLength,
      // an HTTP/1.0 client that asked for it must hear that the connection stays
      keepAlive: this.head.minor === 0 && this.head.keepAlive,
    });
    // a caller that gives no room for a body has none of it read; an end without one needs no room
    if (framing.kind !== "none" && this.#downstream.congested) this.#upstream?.pauseResponse();
  }

  onResponseData(chunk: Uint8Array): void {
    if (this.#done) return;
    this.outcome.bytesOut += chunk.length;
    this.#noteBytes();
    this.#downstream.data(chunk);
    if (this.#downstream.congested) this.#upstream?.pauseResponse();
  }

  onResponseEnd(trailers: Fields | undefined): void {
    if (this.#done) return;
    if (this.#tunnel) {
      this.#downstream.end(undefined);
      if (this.#tunnelHalfClosed) this.#finish(false);
      this.#tunnelHalfClosed = true;
      return;
    }
    if (trailers !== undefined && this.outcome.grpcService !== undefined) {
      this.outcome.grpcStatus = grpcStatusIn(trailers) ?? this.outcome.grpcStatus;
    }
    this.#downstream.end(trailers === undefined ? undefined : this.#service.responseTrailers(trailers));
    // a trailer that can't be written ends the call at once
    if (this.#isOver()) return;
    if (!this.#requestEnded) this.#giveUpUpstream();
    this.#upstream = undefined;
    this.#finish(this.#requestEnded && !this.#connectionClose);
  }

  onUpstreamDrain(): void {
    if (!this.#done) this.#downstream.resumeRequest();
  }

  onUpstreamFailed(error: CountersignError): void {
    if (this.#done) return;
    const upstream = this.#upstream;
    this.#upstream = undefined;
    if (this.#tunnel) {
      this.outcome.close = error.code;
      this.#downstream.abort();
      this.#finish(false);
      return;
    }
    if (upstream !== undefined && this.#isSafeAgain(error) && this.#takeRetry()) {
      this.outcome.retries++;
      this.failedAt = this.outcome.destinationAddress;
      this.#acquire(true);
      return;
    }
    this.#fail(error);
  }

  /** Whether the call may be sent once more: nothing of its response has come and nothing of a body has left, and the upstream says that it has
   *  not begun (RFC 9113 section 8.7), or to have it done twice is to have it done once (RFC 9110 section 9.2.2). */
  #isSafeAgain({ code }: CountersignError): boolean {
    if (this.#responseStarted || this.outcome.bytesIn > 0 || this.outcome.retries >= MAX_RETRIES) return false;
    if (code === "E_UPSTREAM_REFUSED_STREAM") return true;
    if (code !== "E_UPSTREAM_CLOSED" && code !== "E_UPSTREAM_RESET") return false;
    const { framing, method, upgrade } = this.head;
    const hasBody = framing.kind !== "none" && !(framing.kind === "length" && framing.length === 0);
    return !hasBody && upgrade === undefined && IDEMPOTENT.has(method);
  }

  #takeRetry(): boolean {
    return this.#permit !== undefined && this.#service.upstream(this.#permit, this.#facts).takeRetry();
  }

  #startTunnel(head: ResponseHead): void {
    const asked = this.#request?.upgrade;
    const problem =
      asked === undefined || head.upgrade !== asked
        ? "the app switched protocols without being asked to"
        : asked === "websocket" && !isWebSocketAccept(this.head.fields, head.fields)
          ? "the app's Sec-WebSocket-Accept does not answer the caller's key"
          : undefined;
    if (problem !== undefined) {
      this.#giveUpUpstream();
      this.#fail(new CountersignError("E_UPSTREAM_PROTOCOL", problem));
      return;
    }
    this.#endDeadlines();
    this.#responseStarted = true;
    this.#tunnel = true;
    this.outcome.upstreamMs = this.#service.nowMs() - this.#upstreamStartMs;
    this.outcome.status = 101;
    const goesOn = this.#respond({
      status: 101,
      reason: head.reason,
      lines: this.#service.responseLines(head, this.outcome, true),
      fields: NO_FIELDS,
      framing: { kind: "none" },
      close: false,
      upgrade: asked,
    });
    if (!goesOn) return;
    this.#upstream?.becomeTunnel();
    this.#downstream.becomeTunnel();
    this.#service.onLongCall(this.outcome);
  }

  /** False if it can't be written: the call has ended then. */
  #respond(response: OutgoingResponse): boolean {
    try {
      this.#downstream.respond(response);
      return true;
    } catch (error) {
      this.#unwritable(error);
      return false;
    }
  }

  // ── endings ──

  /** Read anew: events change it meanwhile. */
  #isOver(): boolean {
    return this.#done;
  }

  /** A head that can't be written is a fault of whoever added a field to it, which ends its call and nothing else. */
  #unwritable(error: unknown): void {
    this.outcome.decision = "error";
    this.refuse("E_HEAD_UNWRITABLE", error instanceof Error ? error.message : "a head could not be written");
  }

  #fail(error: CountersignError): void {
    this.outcome.decision = "error";
    this.refuse(error.code, error.message);
  }

  #endDeadlines(): void {
    this.#firstByteDeadlineMs = Number.POSITIVE_INFINITY;
    this.#requestDeadlineMs = Number.POSITIVE_INFINITY;
    this.#streamDeadlineMs = Number.POSITIVE_INFINITY;
    this.#streamTimeoutMs = 0;
  }

  /** To be called once `deadlineMs` has passed. */
  onDeadline(nowMs: number): void {
    if (this.#done) return;
    const isSilent = this.#firstByteDeadlineMs <= nowMs;
    const why = isSilent
      ? "the upstream sent no response in time"
      : this.#requestDeadlineMs <= nowMs
        ? "the call took longer than upstream.requestTimeout"
        : "nothing was sent either way for upstream.streamTimeout";
    this.#endDeadlines();
    this.#upstream?.abort(isSilent);
    this.#upstream = undefined;
    if (this.#responseStarted) this.outcome.close = "E_UPSTREAM_TIMEOUT";
    this.#fail(new CountersignError("E_UPSTREAM_TIMEOUT", why));
  }

  /** Ends the call with a stable code: answered locally if nothing of a response has left yet, else broken off. */
  refuse(code: ErrorCode, detail: string, status: number = statusOf(code), own?: Refusal): void {
    if (this.#done) return;
    const { outcome } = this;
    if (outcome.decision === "allow") outcome.decision = "error";
    if (status === 403) outcome.decision = "deny";
    outcome.reason = code;
    outcome.detail = detail;
    this.#giveUpUpstream();
    if (this.#responseStarted) {
      this.#downstream.abort();
      this.#finish(false);
      return;
    }
    outcome.status = status;
    // a connection beyond the limit is there for this answer alone
    const isSpare = code === "E_CONNECTION_LIMIT";
    const keep = this.#mayDiscardBody() && !this.#connectionClose && !this.#service.closing && !isSpare;
    this.#responseStarted = true;
    this.#answer(status, code, this.#service.answerDetail(detail), keep, own);
    if (this.#isOver()) return;
    this.#downstream.end(undefined);
    this.#discarding = true;
    this.#waiting = undefined;
    this.#finish(keep);
  }

  #answer(status: number, code: ErrorCode, detail: string, keep: boolean, own: Refusal | undefined): void {
    const { outcome, head } = this;
    if (head.version === 2 && isGrpcRequest(head)) {
      outcome.status = 200;
      outcome.grpcStatus = grpcStatusOf(code, status);
      this.#respond(grpcAnswer(outcome.grpcStatus, code, detail, outcome.id));
      return;
    }
    const answer = localAnswer(status, code, detail, outcome.id, head.method, !keep, own);
    if (!this.#respond(answer.response) || answer.body.length === 0) return;
    outcome.bytesOut += answer.body.length;
    this.#downstream.data(answer.body);
  }

  /** A small announced body is read and dropped so that the connection lives; anything else ends it. */
  #mayDiscardBody(): boolean {
    if (this.#requestEnded) return true;
    const { framing, expectContinue } = this.head;
    if (framing.kind === "none") return true;
    return framing.kind === "length" && framing.length <= MAX_DISCARDED_BODY && !expectContinue;
  }

  #giveUpUpstream(): void {
    this.#upstream?.abort(false);
    this.#upstream = undefined;
  }

  #finish(reusable: boolean): void {
    this.#done = true;
    this.#waitingFor?.abort();
    this.#endDeadlines();
    const nowMs = this.#service.nowMs();
    finishOutcome(this.#service, this.outcome, this.#slot, nowMs);
    this.#slot = undefined;
    this.#owner.onCallDone(reusable, nowMs);
  }
}

function requestPrincipal({ request }: PreparedCall): string | undefined {
  const { identity } = request;
  return identity === undefined ? undefined : `${identity.issuer}/${identity.subject}`;
}

/** A call open for longer is recorded when it passes this, and every PROGRESS_MS from then on. */
const LONG_CALL_MS = 60_000;
const PROGRESS_MS = 5 * 60_000;
const MAX_RETRIES = 2;
const MAX_DISCARDED_BODY = 64 * 1024;
const CLOSE_FRAMING = { kind: "close" } as const;
const CHUNKED_FRAMING = { kind: "chunked" } as const;
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]);
