import type { ErrorCode } from "../core/error-codes.ts";
import { CountersignError } from "../core/errors.ts";
import { deadlineAfter, type HasDeadline } from "./deadlines.ts";
import { type CallOwner, HttpCall } from "./http-call.ts";
import type { HttpService } from "./http-service.ts";
import type { DownstreamStream, OutgoingResponse } from "./http-streams.ts";
import type { HeadLines } from "./http1/head-lines.ts";
import type { Fields, Http1Decoder, Http1Limits, Http1RequestEvents, RequestHead } from "./http1/http1-events.ts";
import { createRequestDecoder } from "./http1/request-decoder.ts";
import { writeChunk, writeLastChunk, writeResponseHead } from "./http1/write-head.ts";
import { LINGER_MS } from "./linger.ts";
import { localAnswer } from "./local-answer.ts";
import { monotonicMs } from "./monotonic.ts";
import type { ServerTimeouts } from "./server-timeouts.ts";
import type { Transport, TransportOwner } from "./transport.ts";
import { recordUnreadable } from "./unreadable-request.ts";

export interface ServerConnectionOptions {
  readonly limits: Http1Limits;
  readonly timeouts: ServerTimeouts;
  readonly onClosed: () => void;
  /** Takes a CONNECT request over, and the connection with it: it carries no more HTTP of ours. `early`: what came behind the head, in a
   *  buffer of its own. The transport is paused, its owner to be set. Absent: CONNECT is a request like all others. */
  readonly onConnect?: (head: RequestHead, early: Uint8Array | undefined) => void;
}

/** The caller's HTTP/1.1 connection: parses requests one at a time, in order, and writes their responses. */
export class Http1ServerConnection
  implements DownstreamStream, Http1RequestEvents, TransportOwner, CallOwner, HasDeadline
{
  /** One call at a time: a stream's window is all that can be under way. */
  readonly allowance = undefined;
  /** Of the connection itself; its call may have an earlier one. */
  #ownDeadlineMs: number;
  readonly #transport: Transport;
  readonly #service: HttpService;
  readonly #options: ServerConnectionOptions;
  readonly #decoder: Http1Decoder;
  #call: HttpCall | undefined;
  /** Bytes after the end of a request whose response is not complete yet: the socket is paused while there are any. */
  #leftover: Uint8Array | undefined;
  #consuming = false;
  /** When the bytes came that are being consumed, monotonic. */
  #nowMs = 0;
  #bodyPaused = false;
  /** The decoder has seen the end of the request. */
  #ended = false;
  #trailers: Fields | undefined;
  #chunked = false;
  #closeAfterResponse = false;
  #callerEnded = false;
  #tunnel = false;
  #readingHead = false;
  /** A CONNECT request that somebody else takes over. */
  #connect: RequestHead | undefined;
  /** The last answer is written; what still comes is dropped until the linger deadline. */
  #lingering = false;

  constructor(transport: Transport, service: HttpService, options: ServerConnectionOptions) {
    this.#transport = transport;
    this.#service = service;
    this.#options = options;
    this.#decoder = createRequestDecoder(options.limits, this);
    this.#ownDeadlineMs = deadlineAfter(options.timeouts.head);
    transport.owner = this;
  }

  get deadlineMs(): number {
    const call = this.#call;
    return call === undefined ? this.#ownDeadlineMs : Math.min(this.#ownDeadlineMs, call.deadlineMs);
  }

  /** No call is open on it. */
  get idle(): boolean {
    return this.#call === undefined && !this.#readingHead;
  }

  get calls(): number {
    return this.#call === undefined || this.#call.done ? 0 : 1;
  }

  /** A new policy is in force: the call under way is decided again. */
  reauthorize(): void {
    this.#call?.reauthorize();
  }

  /** About twice a second. */
  onTick(): void {
    this.#call?.onTick();
  }

  /** Ends an idle connection; a busy one ends after its response. */
  drain(): void {
    if (this.idle) this.#goodbye();
    else this.#closeAfterResponse = true;
  }

  /** Ends the connection now, and its call with this code. */
  cut(code: ErrorCode, detail: string): void {
    const call = this.#call;
    if (call !== undefined) {
      // one that is done has its record already, and waits for its caller only
      if (!call.done) call.outcome.close = code;
      call.refuse(code, detail);
      this.#transport.flush();
    }
    this.#transport.destroy();
  }

  // ── socket events ──

  onBytes(chunk: Uint8Array): void {
    if (this.#lingering) return;
    if (this.#tunnel) {
      this.#ownDeadlineMs = deadlineAfter(this.#options.timeouts.tunnelIdle);
      this.#call?.onRequestData(chunk);
      return;
    }
    if (this.#leftover !== undefined) {
      this.#leftover = Buffer.concat([this.#leftover, chunk]);
      return;
    }
    this.#consume(chunk);
  }

  #consume(chunk: Uint8Array): void {
    this.#consuming = true;
    this.#nowMs = monotonicMs();
    let from = 0;
    while (from < chunk.length) {
      if (this.#lingering || this.#transport.closed) break;
      if (this.#tunnel) {
        this.#call?.onRequestData(chunk.subarray(from));
        break;
      }
      if (this.#call?.requestEnded === true) {
        this.#leftover = Buffer.from(chunk.subarray(from));
        this.#transport.pause();
        break;
      }
      const next = this.#decoder.push(chunk, from);
      if (typeof next !== "number") {
        this.#violated(next.error, next.status);
        break;
      }
      from = next;
      if (this.#connect !== undefined) {
        this.#handOver(this.#connect, chunk.subarray(from));
        return;
      }
      this.#messageEnded();
    }
    this.#consuming = false;
    if (this.#call === undefined && !this.#lingering) this.#awaitHead(this.#nowMs);
    else if (this.#call !== undefined && !this.#tunnel) this.#awaitCall();
  }

  #handOver(head: RequestHead, rest: Uint8Array): void {
    this.#consuming = false;
    this.#lingering = true;
    this.#transport.pause();
    this.#options.onClosed();
    this.#options.onConnect?.(head, rest.length === 0 ? undefined : Buffer.from(rest));
  }

  #awaitHead(nowMs: number): void {
    const reading = !this.#decoder.atBoundary;
    if (!reading) this.#ownDeadlineMs = deadlineAfter(this.#options.timeouts.idle, nowMs);
    // the head's time is counted from its first byte, whatever trickles in later
    else if (!this.#readingHead) this.#ownDeadlineMs = deadlineAfter(this.#options.timeouts.head, nowMs);
    this.#readingHead = reading;
  }

  #awaitCall(): void {
    this.#readingHead = false;
    this.#ownDeadlineMs = deadlineAfter(this.#options.timeouts.idle, this.#nowMs);
  }

  onFin(): void {
    this.#callerEnded = true;
    const call = this.#call;
    if (this.#tunnel) {
      call?.onTunnelEnd();
      return;
    }
    if (call === undefined) {
      if (this.#readingHead && !this.#lingering) {
        this.#violated(
          new CountersignError("E_HTTP_INCOMPLETE", "the connection ended in the middle of a request head"),
          400,
        );
      }
      this.#goodbye();
      return;
    }
    // a half-closed caller still waits for the response to its complete request (RFC 9112 section 9.6)
    if (call.requestEnded) this.#closeAfterResponse = true;
    else {
      call.onCallerGone("caller-ended-in-body");
      this.#transport.destroy();
    }
  }

  onWritable(): void {
    this.#call?.onDownstreamDrain();
  }

  onGone(): void {
    this.#call?.onCallerGone("caller-closed");
    this.#call = undefined;
    this.#options.onClosed();
  }

  onDeadline(nowMs: number): void {
    const call = this.#call;
    if (this.#lingering) {
      this.#transport.destroy();
      return;
    }
    if (this.#tunnel) {
      this.cut("E_IDLE_TIMEOUT", "the tunnel carried nothing for too long");
      return;
    }
    if (call !== undefined) {
      if (call.deadlineMs <= nowMs) call.onDeadline(nowMs);
      else this.cut("E_IDLE_TIMEOUT", "the call made no progress for too long");
      return;
    }
    if (this.#readingHead) {
      this.#violated(new CountersignError("E_REQUEST_TIMEOUT", "the request head did not arrive in time"), 408);
      return;
    }
    this.#goodbye();
  }

  // ── decoder events ──

  onHead(head: RequestHead): void {
    if (head.form === "authority" && this.#options.onConnect !== undefined) {
      this.#connect = head;
      return;
    }
    const call = new HttpCall(this.#service, head, this.#service.newOutcome(head, this.#nowMs), this, this);
    this.#call = call;
    this.#chunked = false;
    this.#ended = false;
    call.start();
  }

  onData(chunk: Uint8Array): void {
    this.#call?.onRequestData(chunk);
  }

  onEnd(trailers: Fields | undefined): void {
    this.#ended = true;
    this.#trailers = trailers;
  }

  /** After a push, never inside one: a call that ends here may begin the next message. */
  #messageEnded(): void {
    const call = this.#call;
    if (!this.#ended || call === undefined || call.requestEnded) return;
    const trailers = this.#trailers;
    this.#trailers = undefined;
    call.onRequestEnd(trailers);
    if (call.done) this.#call = undefined;
  }

  #violated(error: CountersignError, status: number): void {
    const call = this.#call;
    if (call !== undefined && !call.done) {
      // the body broke: whatever the upstream got is incomplete, and it sees its connection end
      call.outcome.close = "bad-request-body";
      call.refuse(error.code, error.message, status);
      this.#goodbye();
      return;
    }
    const id = recordUnreadable(this.#service, "http/1.1", monotonicMs(), error.code, error.message, status);
    const answer = localAnswer(status, error.code, this.#service.answerDetail(error.message), id, "GET", true);
    this.respond(answer.response);
    this.data(answer.body);
    this.#goodbye();
  }

  // ── the call's side ──

  inform(status: number, reason: string, lines: HeadLines): void {
    writeResponseHead(this.#transport.out, { ...INTERIM, status, reason, lines });
    this.#transport.touch();
  }

  respond(response: OutgoingResponse): void {
    this.#chunked = response.framing.kind === "chunked";
    if (response.close) this.#closeAfterResponse = true;
    else if (this.#closeAfterResponse && response.status !== 101) {
      writeResponseHead(this.#transport.out, { ...response, close: true });
      this.#transport.touch();
      return;
    }
    writeResponseHead(this.#transport.out, response);
    this.#transport.touch();
  }

  data(chunk: Uint8Array): void {
    this.#ownDeadlineMs = Number.POSITIVE_INFINITY;
    if (this.#chunked) {
      writeChunk(this.#transport.out, chunk);
      this.#transport.touch();
    } else this.#transport.writeBytes(chunk);
  }

  end(trailers: Fields | undefined): void {
    if (this.#tunnel) {
      this.#transport.end();
      return;
    }
    if (this.#chunked) {
      writeLastChunk(this.#transport.out, trailers);
      this.#transport.touch();
    }
  }

  abort(): void {
    this.#transport.abort();
  }

  get congested(): boolean {
    return this.#transport.congested;
  }

  pauseRequest(): void {
    this.#bodyPaused = true;
    this.#transport.pause();
  }

  resumeRequest(): void {
    if (!this.#bodyPaused) return;
    this.#bodyPaused = false;
    if (this.#leftover === undefined) this.#transport.resume();
  }

  becomeTunnel(): void {
    this.#tunnel = true;
    this.#ownDeadlineMs = deadlineAfter(this.#options.timeouts.tunnelIdle);
    const early = this.#leftover;
    if (early !== undefined) {
      this.#leftover = undefined;
      this.#call?.onRequestData(early);
      if (!this.#bodyPaused) this.#transport.resume();
    }
  }

  onCallDone(reusable: boolean, nowMs: number): void {
    const call = this.#call;
    if (this.#tunnel) {
      this.#transport.end();
      this.#lingerUntilClosed();
      return;
    }
    if (!reusable || this.#closeAfterResponse || this.#callerEnded) {
      this.#call = undefined;
      this.#goodbye();
      return;
    }
    this.resumeRequest();
    // a body that is being discarded keeps its call until its last byte
    if (call === undefined || !call.requestEnded) return;
    this.#call = undefined;
    if (this.#consuming) return;
    const leftover = this.#leftover;
    if (leftover === undefined) {
      this.#awaitHead(nowMs);
      return;
    }
    this.#leftover = undefined;
    this.#transport.resume();
    this.#consume(leftover);
  }

  /** Writes what waits, says that we are done, and reads on for a while so that the answer is not lost to a RST. */
  #goodbye(): void {
    if (this.#lingering || this.#transport.closed) return;
    this.#transport.end();
    this.#lingerUntilClosed();
    // both sides have said their last byte: the socket closes when ours is out
    if (this.#callerEnded) return;
    this.#leftover = undefined;
    this.#bodyPaused = false;
    this.#transport.resume();
  }

  #lingerUntilClosed(): void {
    this.#lingering = true;
    this.#ownDeadlineMs = deadlineAfter(LINGER_MS);
  }
}

const INTERIM: OutgoingResponse = {
  status: 100,
  reason: "",
  fields: [],
  framing: { kind: "none" },
  close: false,
  upgrade: undefined,
};
