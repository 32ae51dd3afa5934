import type { ErrorCode } from "../core/error-codes.ts";
import { deadlineAfter, type HasDeadline } from "./deadlines.ts";
import { fairTurns, TurnShare } from "./fair-turns.ts";
import { HttpCall } from "./http-call.ts";
import type { HttpService } from "./http-service.ts";
import type { Fields, RequestHead } from "./http1/http1-events.ts";
import { CONNECTION_WINDOW } from "./http2/connection-window.ts";
import { ENHANCE_YOUR_CALM, NO_ERROR, PROTOCOL_ERROR } from "./http2/frames.ts";
import { Http2Codec } from "./http2/http2-codec.ts";
import type { Http2Fault } from "./http2/http2-fault.ts";
import type { Http2Handler } from "./http2/http2-handler.ts";
import type { Http2Options } from "./http2/http2-limits.ts";
import type { Http2Stream } from "./http2/http2-stream.ts";
import type { Http2Violation } from "./http2/peer-conduct.ts";
import { StallGuard } from "./http2/stall-guard.ts";
import { WindowAllowance } from "./http2/window-allowance.ts";
import { asUpgrade, ServerStream, type StreamUser, writeResponse } from "./http2-server-stream.ts";
import { LINGER_MS } from "./linger.ts";
import { localAnswer } from "./local-answer.ts";
import { monotonicMs } from "./monotonic.ts";
import type { ServerTimeouts } from "./server-timeouts.ts";
import type { StreamTransport } from "./stream-transport.ts";
import type { Transport, TransportOwner } from "./transport.ts";
import { TUNNEL_PROTOCOL, tunnelNameOf } from "./tunnel-names.ts";
import { acceptTunnel } from "./tunnel-server-stream.ts";
import { recordUnreadable } from "./unreadable-request.ts";
import { WaitingCalls } from "./waiting-calls.ts";

/** Opens what a tunnel leads to, over its stream. */
export interface TunnelEntrance {
  /** False if no inbound of that name may be reached from here. */
  open(name: string, transport: StreamTransport<StreamUser>): boolean;
}

export interface Http2ServerOptions {
  /** Set where the caller has agreed on our own ALPN name. */
  readonly tunnels: TunnelEntrance | undefined;
  /** HTTP calls are served as well. */
  readonly servesHttp: boolean;
  readonly limits: Http2Options;
  readonly timeouts: ServerTimeouts;
  readonly onClosed: () => void;
}

/** Far more than the bodies that are let go ahead, bytes: beyond it a caller leaves its answers unread. */
const MAX_BACKLOG = 1024 * 1024;

/** The caller's HTTP/2 connection: each of its streams is a call. */
export class Http2ServerConnection implements TransportOwner, HasDeadline, Http2Handler<StreamUser> {
  readonly #transport: Transport;
  readonly #service: HttpService;
  readonly #options: Http2ServerOptions;
  readonly #codec: Http2Codec<StreamUser>;
  /** While no stream is open. */
  #idleDeadlineMs: number;
  /** While a head, or another frame that has no end yet, is coming. */
  #headDeadlineMs = Number.POSITIVE_INFINITY;
  #headUnderWay = 0;
  readonly #allowance = new WindowAllowance();
  readonly #stalls: StallGuard;
  #draining = false;
  /** By when a caller must have heard of a drain. */
  #drainDeadlineMs = Number.POSITIVE_INFINITY;
  #lingering = false;
  /** Nothing is read until the caller has read. */
  #unread = false;
  #nowMs = 0;
  readonly #share = new TurnShare(fairTurns, () => this.#goOn());
  /** Reading has used a share up: nothing is read until the next. */
  #readsLater = false;
  /** What came nevertheless: the rest of one read of TLS records. */
  #kept: Buffer[] = [];
  readonly #waiting = new WaitingCalls(this.#share);
  /** Streams above the limit in this read. */
  #refusedStreams = 0;

  constructor(transport: Transport, service: HttpService, options: Http2ServerOptions) {
    this.#transport = transport;
    this.#service = service;
    this.#options = options;
    const { limits } = options;
    this.#stalls = new StallGuard(limits.http2.stalledStreams);
    this.#codec = new Http2Codec("server", transport.out, this, {
      ...limits,
      streamWindow: limits.streamBuffer,
      connectionWindow: CONNECTION_WINDOW,
    });
    this.#idleDeadlineMs = deadlineAfter(options.timeouts.head);
    transport.owner = this;
    transport.touch();
  }

  get deadlineMs(): number {
    let earliest = Math.min(this.#headDeadlineMs, this.#drainDeadlineMs);
    if (this.#lingering || this.#codec.openStreams === 0) earliest = Math.min(earliest, this.#idleDeadlineMs);
    for (const { user } of this.#codec.streams()) {
      if (user !== undefined && user.deadlineMs < earliest) earliest = user.deadlineMs;
    }
    return earliest;
  }

  get calls(): number {
    let calls = 0;
    for (const { user } of this.#codec.streams()) if (user !== undefined) calls += user.calls;
    return calls;
  }

  /** A new policy is in force: the calls under way are decided again. */
  reauthorize(): void {
    for (const { user } of this.#codec.streams()) user?.reauthorize();
    this.#transport.touch();
  }

  /** About twice a second. */
  onTick(): void {
    const codec = this.#codec;
    let waiting = 0;
    for (const { user, awaitsDrain, queuedBytes } of codec.streams()) {
      user?.onTick();
      // a tunnel may rest for long
      if (user?.isTunnel === false && (awaitsDrain || queuedBytes > 0)) waiting++;
    }
    if (!this.#stalls.passes(waiting, codec.sentBytes, monotonicMs())) return;
    const stalled: Http2Violation = { code: "E_HTTP2_FLOOD", detail: "too many: streams that wait for window" };
    codec.abandon(ENHANCE_YOUR_CALM, stalled.code, stalled.detail);
    this.#violated(stalled);
  }

  /** Takes no new stream once the caller has heard of it; open ones go on. */
  drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    this.#codec.shutdown();
    this.#transport.touch();
    // one that never says that it has heard could open streams for ever, under a configuration that is not in force any more
    this.#drainDeadlineMs = deadlineAfter(LINGER_MS);
    if (this.#codec.openStreams === 0) this.#idleDeadlineMs = this.#drainDeadlineMs;
  }

  /** Ends the connection now, and its calls with this code. */
  cut(code: ErrorCode, detail: string): void {
    for (const { user } of this.#codec.streams()) user?.cut(code, detail);
    this.#codec.abandon(NO_ERROR, code, "");
    this.#transport.flush();
    this.#transport.destroy();
  }

  // ── socket events ──

  onBytes(chunk: Uint8Array): void {
    if (this.#readsLater && !this.#lingering) this.#kept.push(Buffer.from(chunk));
    else this.#read(chunk);
  }

  #read(chunk: Uint8Array): void {
    if (this.#lingering) return;
    const startedMs = monotonicMs();
    this.#nowMs = startedMs;
    this.#share.begin();
    this.#waiting.nextRead();
    const violation = this.#codec.push(chunk, startedMs);
    if (this.#refusedStreams > 0) this.#recordRefusedStreams();
    // a head's time is counted from its first byte, whatever trickles in later; the next one has a time of its own
    const { headUnderWay } = this.#codec;
    if (headUnderWay === 0) this.#headDeadlineMs = Number.POSITIVE_INFINITY;
    else if (headUnderWay !== this.#headUnderWay) {
      this.#headDeadlineMs = deadlineAfter(this.#options.timeouts.head, this.#nowMs);
    }
    this.#headUnderWay = headUnderWay;
    this.#transport.touchSoon();
    if (violation !== undefined) this.#violated(violation);
    else if (this.#transport.congested && this.#transport.backlog > MAX_BACKLOG) {
      // heads and control frames know no window: a caller that reads none of them is not heard either
      this.#unread = true;
      this.#transport.pause();
    }
    if (this.#share.isSpent()) {
      this.#readsLater = true;
      this.#transport.pause();
      this.#share.wait();
    } else if (!this.#share.waits) this.#waiting.begin();
  }

  /** There is a share again. */
  #goOn(): void {
    this.#share.begin();
    const hadRead = !this.#readsLater;
    this.#readsLater = false;
    while (!this.#isReadingLater()) {
      const chunk = this.#kept.shift();
      if (chunk === undefined) break;
      this.#read(chunk);
    }
    this.#waiting.begin();
    if (!hadRead && !this.#isReadingLater() && !this.#unread) this.#transport.resume();
  }

  /** Read anew: what is read changes it. */
  #isReadingLater(): boolean {
    return this.#readsLater;
  }

  onFin(): void {
    for (const chunk of this.#kept.splice(0)) this.#read(chunk);
    // without the caller's window updates no long answer can end: what is open is over
    this.#endCalls("caller-ended");
    this.#goodbye();
  }

  onWritable(): void {
    if (this.#unread) {
      this.#unread = false;
      if (!this.#readsLater) this.#transport.resume();
    }
    for (const { user } of this.#codec.streams()) user?.onTransportWritable();
  }

  onGone(): void {
    // what it still asked for is not begun
    this.#kept.length = 0;
    this.#endCalls("caller-closed");
    this.#options.onClosed();
  }

  onDeadline(nowMs: number): void {
    if (this.#lingering) {
      this.#transport.destroy();
      return;
    }
    if (this.#headDeadlineMs <= nowMs) {
      const late: Http2Violation = {
        code: "E_REQUEST_TIMEOUT",
        detail: "a head that was begun did not arrive in time",
      };
      this.#codec.abandon(ENHANCE_YOUR_CALM, late.code, late.detail);
      this.#violated(late);
      return;
    }
    for (const { user } of this.#codec.streams())
      if (user !== undefined && user.deadlineMs <= nowMs) user.onDeadline(nowMs);
    if (this.#drainDeadlineMs <= nowMs) {
      this.#drainDeadlineMs = Number.POSITIVE_INFINITY;
      this.#codec.finishShutdown();
    }
    this.#transport.touch();
    if (this.#codec.openStreams > 0 || this.#idleDeadlineMs > nowMs) return;
    if (!this.#codec.isSettled) {
      this.#refused("E_REQUEST_TIMEOUT", "the caller's HTTP/2 preface did not arrive in time");
      this.#goodbye();
    } else if (this.#draining) this.#goodbye();
    else this.drain();
  }

  #endCalls(reason: string): void {
    for (const { user } of this.#codec.streams()) user?.onConnectionGone(reason);
  }

  #violated({ code, detail }: Http2Violation): void {
    this.#endCalls(code);
    this.#waiting.clear();
    this.#refused(code, detail);
    this.#goodbye();
  }

  /** A record of its own for what ended the connection or kept a request from being one. */
  #refused(code: ErrorCode, detail: string, status?: number): string {
    const nowMs = this.#nowMs === 0 ? monotonicMs() : this.#nowMs;
    return recordUnreadable(this.#service, "http/2", nowMs, code, detail, status);
  }

  #goodbye(): void {
    if (this.#lingering || this.#transport.closed) return;
    this.#lingering = true;
    this.#idleDeadlineMs = deadlineAfter(LINGER_MS);
    this.#transport.end();
    this.#transport.resume();
  }

  // ── codec events ──

  onRequest(stream: Http2Stream<StreamUser>, head: RequestHead): void {
    if (head.upgrade === TUNNEL_PROTOCOL && head.method === "CONNECT") {
      this.#openTunnel(stream, tunnelNameOf(head.path));
      return;
    }
    if (!this.#options.servesHttp) {
      this.#answer(stream, 405, "E_HTTP_CONNECT", "this listener takes tunnels of other sidecars, no HTTP");
      return;
    }
    const user = new ServerStream(this.#transport, this.#codec, stream, this.#options.timeouts, this.#allowance);
    stream.user = user;
    const seen = head.method === "CONNECT" && head.upgrade !== undefined ? asUpgrade(head) : head;
    const call = new HttpCall(this.#service, seen, this.#service.newOutcome(seen, this.#nowMs), user, user);
    user.begin(call, this.#nowMs);
    // nothing of a tunnel's bytes may reach an app that still reads a request
    if (seen !== head) user.awaitTunnel();
    this.#waiting.add(user);
  }

  onBadRequest(stream: Http2Stream<StreamUser>, fault: Http2Fault): void {
    const status = ANSWERED[fault.code];
    if (status !== undefined) {
      this.#answer(stream, status, fault.code, fault.detail);
      return;
    }
    this.#refused(fault.code, fault.detail);
    this.#codec.resetStream(stream, PROTOCOL_ERROR);
  }

  #answer(stream: Http2Stream<StreamUser>, status: number, code: ErrorCode, detail: string): void {
    const id = this.#refused(code, detail, status);
    const answer = localAnswer(status, code, this.#service.answerDetail(detail), id, "GET", false);
    writeResponse(this.#codec, stream, answer.response);
    this.#codec.data(stream, answer.body);
    this.#codec.endAndCancel(stream);
  }

  /** A stream that stands for a connection to an inbound listener of ours. */
  #openTunnel(stream: Http2Stream<StreamUser>, name: string): void {
    const { tunnels } = this.#options;
    if (tunnels === undefined) {
      this.#answer(stream, 405, "E_TUNNEL_REFUSED", "tunnels are for callers that have agreed on them by ALPN");
      return;
    }
    const transport = acceptTunnel(this.#codec, stream, this.#transport);
    if (tunnels.open(name, transport)) return;
    this.#refused(
      "E_TUNNEL_REFUSED",
      `no inbound ${JSON.stringify(name.slice(0, 64))} may be reached from this listener`,
    );
    transport.abort();
  }

  onResponse(): void {
    // a server gets none
  }

  onData(stream: Http2Stream<StreamUser>, chunk: Uint8Array): void {
    const { user } = stream;
    this.#waiting.bodyCame(user);
    user?.onData(chunk, this.#nowMs);
  }

  onEnd(stream: Http2Stream<StreamUser>, trailers: Fields | undefined): void {
    stream.user?.onEnd(trailers);
  }

  onReset(stream: Http2Stream<StreamUser>, _errorCode: number, detail: string): void {
    stream.user?.onReset(detail);
  }

  onStreamWritable(stream: Http2Stream<StreamUser>): void {
    stream.user?.onStreamWritable();
  }

  onRefused(): void {
    this.#refusedStreams++;
  }

  /** One record for all of a read: they may be hundreds. */
  #recordRefusedStreams(): void {
    const { streams } = this.#options.limits;
    const many = this.#refusedStreams === 1 ? "" : `: ${this.#refusedStreams} were refused`;
    this.#refusedStreams = 0;
    this.#refused("E_HTTP2_STREAM_LIMIT", `more than ${streams} streams at once${many}`);
  }

  onStreamClosed(stream: Http2Stream<StreamUser>): void {
    stream.user?.onClosed();
  }

  onSettings(): void {
    if (this.#codec.openStreams === 0) this.#idleDeadlineMs = deadlineAfter(this.#options.timeouts.idle);
  }

  onGoaway(): void {
    // the caller opens no more streams: nothing changes for those that are open
  }

  onIdle(): void {
    if (this.#lingering) return;
    if (this.#codec.isFinished) {
      this.#goodbye();
      return;
    }
    const { idle } = this.#options.timeouts;
    this.#idleDeadlineMs = deadlineAfter(this.#draining ? LINGER_MS : idle, this.#nowMs);
  }
}

/** Requests that are well-formed HTTP/2 and yet refused by a limit are answered; malformed ones get their stream reset (RFC 9113 section 8.1.1). */
const ANSWERED: Partial<Record<ErrorCode, number>> = {
  E_HTTP_HEAD_TOO_LARGE: 431,
  E_HTTP_TOO_MANY_FIELDS: 431,
  E_HTTP_REQUEST_LINE_TOO_LONG: 414,
  E_HTTP_METHOD_CASE: 400,
  E_HTTP_EXPECT: 417,
};
