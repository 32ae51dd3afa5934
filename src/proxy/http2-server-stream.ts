import { randomBytes } from "node:crypto";
import type { ErrorCode } from "../core/error-codes.ts";
import { deadlineAfter } from "./deadlines.ts";
import type { CallOwner, HttpCall } from "./http-call.ts";
import type { DownstreamStream, OutgoingResponse } from "./http-streams.ts";
import type { HeadLines } from "./http1/head-lines.ts";
import { isHopByHop } from "./http1/hop-by-hop.ts";
import type { Fields, RequestHead } from "./http1/http1-events.ts";
import { announcedLength } from "./http1/write-head.ts";
import { CANCEL, INTERNAL_ERROR } from "./http2/frames.ts";
import type { Http2Codec } from "./http2/http2-codec.ts";
import type { Http2Stream } from "./http2/http2-stream.ts";
import type { WindowAllowance } from "./http2/window-allowance.ts";
import type { ServerTimeouts } from "./server-timeouts.ts";
import type { Transport } from "./transport.ts";

const WEBSOCKET_KEY_BYTES = 16;

/** What a stream of the connection carries: a call, or a tunnel that stands for a connection of its own. */
export interface StreamUser {
  readonly deadlineMs: number;
  onDeadline(nowMs: number): void;
  /** Calls that this connection answers for: those of a tunnel are its listener's. */
  readonly calls: number;
  /** Carries bytes both ways, as long as its ends like. */
  readonly isTunnel: boolean;
  reauthorize(): void;
  onTick(): void;
  cut(code: ErrorCode, detail: string): void;
  onData(chunk: Uint8Array, nowMs: number): void;
  onEnd(trailers: Fields | undefined): void;
  /** The caller has given it up. */
  onReset(detail: string): void;
  /** The whole connection has ended. */
  onConnectionGone(reason: string): void;
  onStreamWritable(): void;
  onTransportWritable(): void;
  onClosed(): void;
}

/** The one stream of a call: its caller's half. */
export class ServerStream implements StreamUser, DownstreamStream, CallOwner {
  readonly allowance: WindowAllowance;
  readonly #transport: Transport;
  readonly #codec: Http2Codec<StreamUser>;
  readonly #stream: Http2Stream<StreamUser>;
  readonly #timeouts: ServerTimeouts;
  #call: HttpCall | undefined;
  /** By when the caller has to go on: with its body, or with reading ours. */
  #progressDeadlineMs = Number.POSITIVE_INFINITY;
  #awaitsTransport = false;
  #tunnel = false;
  #awaitsTunnel = false;
  #started = false;

  constructor(
    transport: Transport,
    codec: Http2Codec<StreamUser>,
    stream: Http2Stream<StreamUser>,
    timeouts: ServerTimeouts,
    allowance: WindowAllowance,
  ) {
    this.allowance = allowance;
    this.#transport = transport;
    this.#codec = codec;
    this.#stream = stream;
    this.#timeouts = timeouts;
  }

  begin(call: HttpCall, nowMs: number): void {
    this.#call = call;
    this.#progressDeadlineMs = deadlineAfter(this.#timeouts.idle, nowMs);
  }

  /** Lets the call go on its way, unless it is over already. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    if (!this.call.done) this.call.start();
  }

  awaitTunnel(): void {
    this.#awaitsTunnel = true;
    this.#codec.pause(this.#stream);
  }

  get calls(): number {
    return this.#call === undefined || this.#call.done ? 0 : 1;
  }

  get isTunnel(): boolean {
    return this.#tunnel;
  }

  reauthorize(): void {
    this.call.reauthorize();
  }

  onTick(): void {
    this.call.onTick();
  }

  cut(code: ErrorCode, detail: string): void {
    const { call } = this;
    if (call.done) return;
    call.outcome.close = code;
    call.refuse(code, detail);
  }

  onReset(detail: string): void {
    if (!this.call.done) this.call.onCallerGone("caller-reset", detail);
  }

  onConnectionGone(reason: string): void {
    // an answer that is whole still leaves; half of one must not look like it
    if (!this.call.done) this.#codec.resetStream(this.#stream, INTERNAL_ERROR);
    this.call.onCallerGone(reason);
  }

  onClosed(): void {
    // the call has had its own end
  }

  get call(): HttpCall {
    if (this.#call === undefined) throw new TypeError("a stream without its call");
    return this.#call;
  }

  get deadlineMs(): number {
    return Math.min(this.call.deadlineMs, this.#progressDeadlineMs);
  }

  onDeadline(nowMs: number): void {
    const { call } = this;
    if (call.deadlineMs <= nowMs) {
      call.onDeadline(nowMs);
      return;
    }
    this.#progressDeadlineMs = Number.POSITIVE_INFINITY;
    if (call.done) {
      // the answer is given and nobody takes it
      this.#codec.resetStream(this.#stream, CANCEL);
      return;
    }
    const what = this.#tunnel ? "the tunnel carried nothing" : "the call made no progress";
    call.outcome.close = "E_IDLE_TIMEOUT";
    call.refuse("E_IDLE_TIMEOUT", `${what} for too long`);
  }

  onData(chunk: Uint8Array, nowMs: number): void {
    this.#progressDeadlineMs = deadlineAfter(this.#tunnel ? this.#timeouts.tunnelIdle : this.#timeouts.idle, nowMs);
    this.call.onRequestData(chunk);
  }

  onEnd(trailers: Fields | undefined): void {
    this.#progressDeadlineMs = Number.POSITIVE_INFINITY;
    if (this.#tunnel) this.call.onTunnelEnd();
    else this.call.onRequestEnd(trailers);
  }

  onStreamWritable(): void {
    if (!this.#tunnel) this.#awaitCaller();
    if (!this.#awaitsTransport) this.call.onDownstreamDrain();
  }

  onTransportWritable(): void {
    if (!this.#awaitsTransport) return;
    this.#awaitsTransport = false;
    if (!this.#codec.isCongested(this.#stream)) this.call.onDownstreamDrain();
  }

  // ── the call's side ──

  inform(status: number, _reason: string, lines: HeadLines): void {
    const { reset } = this.#stream;
    if (reset) return;
    this.#codec.beginHeaders(this.#stream);
    try {
      this.#codec.status(status);
      this.#codec.lines(lines);
    } catch (error) {
      this.#codec.dropHeaders(this.#stream);
      throw error;
    }
    this.#codec.endHeaders(this.#stream, false);
    this.#transport.touch();
  }

  respond(response: OutgoingResponse): void {
    if (this.#stream.reset) return;
    writeResponse(this.#codec, this.#stream, response);
    this.#transport.touch();
  }

  /** A caller whose body is complete and that takes all we have is waited for no longer. */
  #awaitCaller(): void {
    this.#progressDeadlineMs = this.call.requestEnded ? Number.POSITIVE_INFINITY : deadlineAfter(this.#timeouts.idle);
  }

  data(chunk: Uint8Array): void {
    if (this.#tunnel) this.#progressDeadlineMs = deadlineAfter(this.#timeouts.tunnelIdle);
    else if (this.#progressDeadlineMs !== Number.POSITIVE_INFINITY) this.#awaitCaller();
    this.#codec.data(this.#stream, chunk);
    this.#transport.touchSoon();
  }

  end(trailers: Fields | undefined): void {
    this.#codec.end(this.#stream, trailers);
    this.#transport.touch();
  }

  abort(): void {
    this.#codec.resetStream(this.#stream, INTERNAL_ERROR);
    this.#transport.touch();
  }

  get congested(): boolean {
    const transport = this.#transport.congested;
    if (transport) this.#awaitsTransport = true;
    if (!this.#codec.isCongested(this.#stream)) return transport;
    // its reader has the usual patience to make room
    if (!this.#tunnel) this.#progressDeadlineMs = deadlineAfter(this.#timeouts.idle);
    return true;
  }

  pauseRequest(): void {
    this.#codec.pause(this.#stream);
  }

  resumeRequest(): void {
    if (this.#awaitsTunnel) return;
    this.#codec.resume(this.#stream);
    this.#transport.touch();
  }

  becomeTunnel(): void {
    this.#tunnel = true;
    this.#awaitsTunnel = false;
    this.#codec.resume(this.#stream);
    this.#progressDeadlineMs = deadlineAfter(this.#timeouts.tunnelIdle);
  }

  onCallDone(): void {
    // what is still queued may leave; a body that is still coming is not wanted any more
    this.#progressDeadlineMs = deadlineAfter(this.#timeouts.idle);
    this.#codec.endAndCancel(this.#stream);
    this.#transport.touch();
  }
}

/** Throws TypeError for a field that can't be written: the stream is reset then. */
export function writeResponse(
  codec: Http2Codec<StreamUser>,
  stream: Http2Stream<StreamUser>,
  response: OutgoingResponse,
): void {
  codec.beginHeaders(stream);
  const { fields } = response;
  try {
    // what HTTP/1.1 calls switching protocols is a plain success here (RFC 8441 section 5)
    codec.status(response.status === 101 ? 200 : response.status);
    if (response.lines !== undefined) codec.lines(response.lines);
    for (let at = 0; at < fields.length; at += 2) {
      const name = fields[at] as string;
      if (!isHopByHop(name)) codec.field(name, fields[at + 1] as string);
    }
  } catch (error) {
    codec.dropHeaders(stream);
    throw error;
  }
  const length = announcedLength(response);
  // that nothing follows is said by the stream's end; gRPC's answers of headers alone have no length
  if (length !== undefined && (length > 0 || response.framing.kind !== "none"))
    codec.field("content-length", String(length));
  codec.endHeaders(stream, false);
}

/** An extended CONNECT (RFC 8441) as the Upgrade that it stands for: policy, audit and app see one thing, whatever carries it. */
export function asUpgrade(head: RequestHead): RequestHead {
  const raw: string[] = [];
  const lower: string[] = [];
  for (let field = 0; field < head.fields.lower.length; field++) {
    const name = head.fields.lower[field] as string;
    if (name === "sec-websocket-key") continue;
    lower.push(name);
    raw.push(head.fields.raw[2 * field] as string, head.fields.raw[2 * field + 1] as string);
  }
  if (head.upgrade === "websocket") {
    lower.push("sec-websocket-key");
    raw.push("sec-websocket-key", randomBytes(WEBSOCKET_KEY_BYTES).toString("base64"));
  }
  return { ...head, method: "GET", fields: { raw, lower }, framing: { kind: "none" } };
}
