import type { AuditSlot } from "../core/audit-log.ts";
import type { CallOutcome } from "../core/call-outcome.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { CountersignError } from "../core/errors.ts";
import { AdmittedCall } from "./admitted-call.ts";
import { statusOf } from "./answer-status.ts";
import { finishOutcome } from "./call-outcomes.ts";
import { grpcStatusIn } from "./grpc-fields.ts";
import type { HttpService } from "./http-service.ts";
import type {
  DownstreamStream,
  OutgoingRequest,
  OutgoingResponse,
  UpstreamReceiver,
  UpstreamStream,
} from "./http-streams.ts";
import { HeadLines } from "./http1/head-lines.ts";
import type { BodyFraming, Fields, RequestHead, ResponseHead } from "./http1/http1-events.ts";
import type { WindowAllowance } from "./http2/window-allowance.ts";
import type { Refusal } from "./refusal.ts";
import { refusalAnswer } from "./refusal-answer.ts";
import { isSafeAgain } from "./safe-again.ts";
import { looksLikeTunnel, switchProblem } from "./tunnel-answer.ts";

/** Who owns the call: the downstream connection. */
export interface CallOwner {
  /** The response is complete or broken and the record is written, at `nowMs` (monotonic). `reusable`: the connection may carry another
   *  call. */
  onCallDone(reusable: boolean, nowMs: number): void;
}

const NO_TRAILERS = undefined;
const NO_FIELDS: readonly string[] = [];
const NO_LINES = new HeadLines({ raw: [], lower: [] });
const MAX_DISCARDED_BODY = 64 * 1024;
const CLOSE_FRAMING = { kind: "close" } as const;
const CHUNKED_FRAMING = { kind: "chunked" } as const;

/** One HTTP call from its parsed head to its audit record. Knows neither HTTP version nor direction: streams and service do. */
export class HttpCall extends AdmittedCall implements UpstreamReceiver {
  readonly #downstream: DownstreamStream;
  readonly #owner: CallOwner;
  #slot: AuditSlot | undefined;
  #request: OutgoingRequest | undefined;
  #upstream: UpstreamStream | undefined;
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

  constructor(
    service: HttpService,
    head: RequestHead,
    outcome: CallOutcome,
    downstream: DownstreamStream,
    owner: CallOwner,
  ) {
    super(service, head, outcome);
    this.#downstream = downstream;
    this.#owner = owner;
    this.#connectionClose = !head.keepAlive;
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

  protected forward(): void {
    const facts = this.facts;
    if (facts === undefined) throw new TypeError("forwarded before prepare");
    this.#slot ??= this.service.audit.reserve();
    if (this.#slot === undefined) {
      this.refuse("E_AUDIT_UNAVAILABLE", "no audit record could be reserved");
      return;
    }
    const request = this.service.outgoing(this.head, facts, this.outcome);
    this.#request = request;
    // an Upgrade that is not passed on is a request without it; an extended CONNECT is nothing without its tunnel
    if (this.head.version === 2 && this.head.upgrade !== undefined && request.upgrade === undefined) {
      this.refuse("E_HTTP_UPGRADE", `the listener passes no ${this.head.upgrade} on`);
      return;
    }
    this.#acquire();
  }

  #acquire(): void {
    const permit = this.permit;
    if (permit === undefined) throw new TypeError("acquire without a permit");
    const request = this.#request;
    if (request === undefined) throw new TypeError("acquire before the request was made");
    const upstream = this.service.upstream(permit, this.facts);
    const isFirst = this.#upstreamStartMs === 0;
    this.#upstreamStartMs = this.service.nowMs();
    if (isFirst && request.upgrade === undefined) this.limit(upstream, this.#upstreamStartMs);
    this.acquires();
    upstream.acquire(permit, this.outcome.retries > 0, request, this);
  }

  /** The pool's answer: a connection. Returns false if the call no longer wants it. */
  onAcquired(upstream: UpstreamStream, destination: CallOutcome["destination"], address: string): boolean {
    if (this.#done) return false;
    // nothing was sent
    if (!this.opens()) return false;
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
    // it may have broken at once, and the call have another by now
    if (this.#upstream !== upstream) return true;
    if (this.#downstream.congested) upstream.sipResponse();
    if (!this.passEarly(upstream)) return true;
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
    const trailers = this.#requestTrailers;
    // by the policy under which they leave
    this.#upstream?.end(trailers === undefined ? undefined : this.service.requestTrailers(trailers));
    if (this.#tunnel || this.#responseStarted || this.#request?.upgrade !== undefined) return;
    // a gRPC method may take its time: its caller says by a deadline of its own how much
    if (this.#request?.needsHttp2 === true) return;
    this.awaitResponse();
  }

  // ── from the caller ──

  onRequestData(chunk: Uint8Array): void {
    if (this.#done) return;
    this.outcome.bytesIn += chunk.length;
    if (this.#discarding) return;
    const upstream = this.#upstream;
    if (upstream === undefined || this.isPassing) {
      if (!this.keepEarly(chunk)) this.#downstream.pauseRequest();
      return;
    }
    this.noteBytes();
    upstream.data(chunk);
    if (upstream.congested) this.#downstream.pauseRequest();
  }

  onRequestEnd(trailers: Fields | undefined): void {
    this.#requestEnded = true;
    if (this.#done) return;
    this.#requestTrailers = trailers;
    if (this.#upstream === undefined) this.endEarly();
    else if (!this.#discarding && !this.isPassing) this.#endUpstream();
  }

  protected readBody(continues: boolean): void {
    if (continues && !this.hasContinued) {
      this.hasContinued = true;
      this.#downstream.inform(100, "Continue", NO_LINES);
    }
    this.#downstream.resumeRequest();
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
    if (looksLikeTunnel(this.head, this.#request?.upgrade, head)) {
      this.#giveUpUpstream();
      this.#fail(
        new CountersignError("E_UPSTREAM_PROTOCOL", `the app answered ${head.status} instead of switching protocols`),
      );
      return;
    }
    if (head.status < 200) {
      if (this.head.minor === 0 || (head.status === 100 && this.hasContinued)) return;
      try {
        this.#downstream.inform(head.status, head.reason, this.service.responseLines(head, outcome, false));
      } catch (error) {
        this.#unwritable(error);
      }
      return;
    }
    this.noteResponse();
    this.#responseStarted = true;
    outcome.upstreamMs = this.service.nowMs() - this.#upstreamStartMs;
    outcome.status = head.status;
    // a response of headers alone has its gRPC status among them
    if (outcome.grpcService !== undefined) outcome.grpcStatus = grpcStatusIn(head.fields);
    const framing = framingToward(this.head, head);
    if (framing.kind === "close" || this.service.closing) this.#connectionClose = true;
    this.#respond({
      status: head.status,
      reason: head.reason,
      lines: this.service.responseLines(head, outcome, true),
      fields: this.facts?.responseFields ?? NO_FIELDS,
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
    this.noteBytes();
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
    this.#downstream.end(trailers === undefined ? undefined : this.service.responseTrailers(trailers));
    // a trailer that can't be written ends the call at once
    if (this.#isOver()) return;
    if (!this.#requestEnded || this.isPassing) this.#giveUpUpstream();
    this.#upstream = undefined;
    this.#finish(this.#requestEnded && !this.#connectionClose);
  }

  onUpstreamDrain(): void {
    if (this.#done) return;
    if (this.isPassing && this.#upstream !== undefined) {
      this.noteBytes();
      if (!this.passEarly(this.#upstream)) return;
      if (this.#requestEnded) this.#endUpstream();
    }
    this.#downstream.resumeRequest();
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
      if (this.opensAgain()) this.#acquire();
      return;
    }
    this.#fail(error);
  }

  #isSafeAgain({ code }: CountersignError): boolean {
    return !this.#responseStarted && isSafeAgain(this.head, this.outcome, code);
  }

  #takeRetry(): boolean {
    return this.permit !== undefined && this.service.upstream(this.permit, this.facts).takeRetry();
  }

  #startTunnel(head: ResponseHead): void {
    const asked = this.#request?.upgrade;
    const problem = switchProblem(this.head, asked, head);
    if (problem !== undefined) {
      this.#giveUpUpstream();
      this.#fail(new CountersignError("E_UPSTREAM_PROTOCOL", problem));
      return;
    }
    this.endDeadlines();
    this.#responseStarted = true;
    this.#tunnel = true;
    this.outcome.upstreamMs = this.service.nowMs() - this.#upstreamStartMs;
    this.outcome.status = 101;
    const goesOn = this.#respond({
      status: 101,
      reason: head.reason,
      lines: this.service.responseLines(head, this.outcome, true),
      fields: NO_FIELDS,
      framing: { kind: "none" },
      close: false,
      upgrade: asked,
    });
    if (!goesOn) return;
    this.#upstream?.becomeTunnel();
    this.#downstream.becomeTunnel();
    this.service.onLongCall(this.outcome);
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

  protected onLate(isSilent: boolean, why: string): void {
    this.#upstream?.abort(isSilent);
    this.#upstream = undefined;
    if (this.#responseStarted) this.outcome.close = "E_UPSTREAM_TIMEOUT";
    this.#fail(new CountersignError("E_UPSTREAM_TIMEOUT", why));
  }

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
    const keep = this.#mayDiscardBody() && !this.#connectionClose && !this.service.closing && !isSpare;
    this.#responseStarted = true;
    this.#answer(status, code, this.service.answerDetail(detail), keep, own);
    if (this.#isOver()) return;
    this.#downstream.end(undefined);
    this.#discarding = true;
    this.#finish(keep);
  }

  #answer(status: number, code: ErrorCode, detail: string, keep: boolean, own: Refusal | undefined): void {
    const { response, body } = refusalAnswer(this.head, this.outcome, status, code, detail, !keep, own);
    if (!this.#respond(response) || body.length === 0) return;
    this.outcome.bytesOut += body.length;
    this.#downstream.data(body);
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
    this.stopWaiting();
    this.dropEarly();
    this.endDeadlines();
    const nowMs = this.service.nowMs();
    finishOutcome(this.service, this.outcome, this.#slot, nowMs);
    this.#slot = undefined;
    this.#owner.onCallDone(reusable, nowMs);
  }
}

/** How a response's body is delimited toward its caller. */
function framingToward({ minor }: RequestHead, { framing }: ResponseHead): BodyFraming {
  if (minor === 0 && framing.kind === "chunked") return CLOSE_FRAMING;
  if (minor === 1 && framing.kind === "close") return CHUNKED_FRAMING;
  return framing;
}
