import type { ErrorCode } from "../../core/error-codes.ts";
import { CountersignError } from "../../core/errors.ts";
import { printable } from "../../core/safe-text.ts";
import { deadlineAfter, type HasDeadline } from "../deadlines.ts";
import type { OutgoingRequest, UpstreamReceiver, UpstreamStream } from "../http-streams.ts";
import { fieldValue } from "../http1/field-value.ts";
import { isHopByHop } from "../http1/hop-by-hop.ts";
import type { Fields, Http1Limits, ResponseHead } from "../http1/http1-events.ts";
import { webSocketAccept } from "../http1/websocket-accept.ts";
import { welcomesTrailers } from "../http1/write-head.ts";
import { CONNECTION_WINDOW } from "../http2/connection-window.ts";
import { FLOOD_LIMITS } from "../http2/flood-guard.ts";
import { CANCEL, NO_ERROR, REFUSED_STREAM } from "../http2/frames.ts";
import { Http2Codec, type Http2Handler } from "../http2/http2-codec.ts";
import type { Http2Stream } from "../http2/http2-stream.ts";
import { monotonicMs } from "../monotonic.ts";
import { StreamTransport } from "../stream-transport.ts";
import { SocketTransport, type Transport, type TransportOwner } from "../transport.ts";
import { TUNNEL_ALPN, TUNNEL_AUTHORITY, TUNNEL_PROTOCOL, tunnelPath } from "../tunnel-names.ts";
import { reasonOf } from "./dial.ts";
import type { EndpointLoad } from "./endpoint-load.ts";
import { isServersFault, PooledConnection, type PooledParts } from "./pooled-connection.ts";

export interface Http2ClientParts extends PooledParts {
  readonly limits: Http1Limits & { readonly streams: number; readonly streamBuffer: number };
  /** How long a connection without calls is kept. */
  readonly idleMs: number;
  /** How long the other side may take to say that it speaks HTTP/2. */
  readonly settleMs: number;
}

/** What a stream of the connection carries: a call, or a tunnel that stands for a connection of its own. */
interface StreamUser {
  onHead(head: ResponseHead): void;
  onData(chunk: Uint8Array): void;
  onEnd(trailers: Fields | undefined): void;
  fail(error: CountersignError): void;
  onStreamWritable(): void;
  onTransportWritable(): void;
  onClosed(): void;
}

export interface Http2ClientOwner {
  /** The other side has sent its settings: it speaks HTTP/2, and now says how many streams it takes. */
  onSettled(connection: Http2ClientConnection): void;
  onSharedClosed(connection: Http2ClientConnection, error: CountersignError | undefined): void;
}

/** What an answer may send before its caller has been seen to take it, bytes: a caller that takes nothing has no more held for it. */
const FIRST_WINDOW = 4096;
/** Calls behind one with a larger answer that are expected to have one too: they need not wait for the window to grow. */
const LARGE_AFTER = 8;

/** One HTTP/2 connection to an upstream, shared by many calls. */
export class Http2ClientConnection
  extends PooledConnection
  implements TransportOwner, HasDeadline, Http2Handler<StreamUser>
{
  readonly #transport: SocketTransport;
  readonly #codec: Http2Codec<StreamUser>;
  readonly #owner: Http2ClientOwner;
  readonly #idleMs: number;
  readonly scheme: "http" | "https";
  #calls = 0;
  /** Calls that are still expected to have large answers. */
  #large = 0;
  #retired = false;
  #hasSpoken = false;
  #failure: CountersignError | undefined;
  /** While it has no call. */
  #idleDeadlineMs: number;

  constructor(parts: Http2ClientParts, owner: Http2ClientOwner) {
    super(parts);
    this.#owner = owner;
    this.#idleMs = parts.idleMs;
    this.scheme = parts.dialed.peer === undefined ? "http" : "https";
    this.takesTunnels = parts.dialed.alpn === TUNNEL_ALPN;
    this.#transport = new SocketTransport(parts.dialed.socket, this);
    const { limits } = parts;
    this.#codec = new Http2Codec("client", this.#transport.out, this, {
      ...limits,
      streamWindow: Math.min(FIRST_WINDOW, limits.streamBuffer),
      fullWindow: limits.streamBuffer,
      connectionWindow: CONNECTION_WINDOW,
      flood: FLOOD_LIMITS,
    });
    this.#idleDeadlineMs = deadlineAfter(parts.settleMs);
    this.#transport.touch();
  }

  get deadlineMs(): number {
    return this.#codec.openStreams === 0 || !this.#codec.isSettled ? this.#idleDeadlineMs : Number.POSITIVE_INFINITY;
  }

  get closed(): boolean {
    return this.#transport.closed;
  }

  /** Calls that it has carried or carries. */
  get calls(): number {
    return this.#calls;
  }

  /** The other side has sent something, HTTP/2 or not. */
  get hasSpoken(): boolean {
    return this.#hasSpoken;
  }

  get isSettled(): boolean {
    return this.#codec.isSettled;
  }

  /** Whether one more call finds room now. */
  get hasRoom(): boolean {
    return !this.#retired && this.#codec.canOpen && !this.#transport.closed;
  }

  /** It will never carry another call. */
  get isSpent(): boolean {
    return this.#retired || this.#codec.isSpent || this.#transport.closed;
  }

  /** The other side is a sidecar of our kind. */
  readonly takesTunnels: boolean;

  get takesExtendedConnect(): boolean {
    return this.takesTunnels || this.#codec.takesExtendedConnect;
  }

  /** A place for one call. The stream itself is opened by `send`, so that its number fits the order on the wire. */
  place(): UpstreamStream {
    return new ClientStream(this, this.#codec, this.#transport);
  }

  /** Opens a stream that stands for a connection to an inbound of the other sidecar; "": the one that this connection came to. */
  openTunnel(inbound: string): Transport {
    const codec = this.#codec;
    this.#calls++;
    const stream = codec.open("CONNECT");
    const transport = new StreamTransport(codec, stream, this.#transport);
    stream.user = new TunnelStream(transport, this.load, this.address);
    codec.beginHeaders(stream);
    codec.field(":method", "CONNECT");
    codec.field(":protocol", TUNNEL_PROTOCOL);
    codec.field(":scheme", this.scheme);
    codec.field(":authority", TUNNEL_AUTHORITY);
    codec.field(":path", tunnelPath(inbound));
    codec.endHeaders(stream, false);
    codec.expectMuch(stream);
    this.#transport.touch();
    return transport;
  }

  noteCall(): void {
    this.#calls++;
  }

  get expectsMuch(): boolean {
    return this.#large > 0;
  }

  /** A call is over whose answer had so many bytes. */
  noteAnswer(bytes: number): void {
    if (bytes > FIRST_WINDOW) this.#large = LARGE_AFTER;
    else if (this.#large > 0) this.#large--;
  }

  /** Takes no new call; closes once the last has ended. */
  close(): void {
    if (this.#retired) return;
    this.#retired = true;
    if (this.#codec.openStreams > 0) return;
    this.#end();
  }

  #end(): void {
    this.#codec.shutdown();
    this.#transport.end();
    // the other side answers a close with a close; what it does not answer ends here
    this.#idleDeadlineMs = deadlineAfter(LINGER_MS);
  }

  fail(error: CountersignError): void {
    this.#lose(error);
    this.#transport.destroy();
  }

  /** `goesOn`: calls that the loss does not concern. */
  #lose(error: CountersignError, goesOn: (stream: Http2Stream<StreamUser>) => boolean = () => false): void {
    // however many calls it carried, it is one connection that failed
    if (this.#failure === undefined && this.#codec.openStreams > 0 && isServersFault(error)) this.load.failed();
    this.#failure ??= error;
    this.#retired = true;
    for (const stream of this.#codec.streams()) {
      if (goesOn(stream)) continue;
      stream.user?.fail(error);
      this.#codec.resetStream(stream, CANCEL);
    }
  }

  onDeadline(): void {
    if (this.#retired) this.#transport.destroy();
    else if (!this.#codec.isSettled) {
      this.fail(
        new CountersignError("E_UPSTREAM_NOT_HTTP2", `${this.address} did not answer HTTP/2's preface in time`),
      );
    } else this.close();
  }

  // ── socket events ──

  onBytes(chunk: Buffer): void {
    this.#hasSpoken = true;
    const violation = this.#codec.push(chunk, monotonicMs());
    this.#transport.touchSoon();
    if (violation === undefined) return;
    const code: ErrorCode = violation.code === "E_HTTP2_PREFACE" ? "E_UPSTREAM_NOT_HTTP2" : "E_UPSTREAM_PROTOCOL";
    this.#transport.flush();
    this.fail(new CountersignError(code, `${this.address}: ${violation.detail}`));
  }

  onFin(): void {
    this.#closedByPeer();
    this.#transport.destroy();
  }

  onWritable(): void {
    for (const { user } of this.#codec.streams()) user?.onTransportWritable();
  }

  onGone(): void {
    this.#closedByPeer();
    this.#owner.onSharedClosed(this, this.#failure);
  }

  #closedByPeer(): void {
    if (this.#failure !== undefined) return;
    const { error } = this.#transport;
    const why = error === undefined ? "closed the connection" : reasonOf(error);
    const code: ErrorCode = this.#codec.isSettled ? "E_UPSTREAM_CLOSED" : "E_UPSTREAM_NOT_HTTP2";
    const lost = new CountersignError(code, `${this.address}: ${why}`, { cause: error });
    this.#lose(lost, (stream) => this.#codec.outlives(stream));
  }

  // ── codec events ──

  onRequest(): void {
    // a client gets none
  }

  onBadRequest(): void {
    // a client gets none
  }

  onRefused(): void {
    // a client refuses none
  }

  onResponse(stream: Http2Stream<StreamUser>, head: ResponseHead): void {
    stream.user?.onHead(head);
  }

  onData(stream: Http2Stream<StreamUser>, chunk: Uint8Array): void {
    stream.user?.onData(chunk);
  }

  onEnd(stream: Http2Stream<StreamUser>, trailers: Fields | undefined): void {
    stream.user?.onEnd(trailers);
  }

  onStreamClosed(stream: Http2Stream<StreamUser>): void {
    stream.user?.onClosed();
  }

  onReset(stream: Http2Stream<StreamUser>, errorCode: number, detail: string): void {
    const code: ErrorCode = errorCode === REFUSED_STREAM ? "E_UPSTREAM_REFUSED_STREAM" : "E_UPSTREAM_RESET";
    stream.user?.fail(new CountersignError(code, `${this.address}: ${detail}`));
  }

  onStreamWritable(stream: Http2Stream<StreamUser>): void {
    stream.user?.onStreamWritable();
  }

  onSettings(): void {
    this.#idleDeadlineMs = deadlineAfter(this.#idleMs);
    this.#owner.onSettled(this);
  }

  onGoaway(): void {
    if (this.#codec.openStreams === 0) this.close();
  }

  onIdle(): void {
    this.#idleDeadlineMs = deadlineAfter(this.#idleMs);
    if (this.#retired || this.#codec.isSpent) {
      this.#retired = true;
      this.#end();
    }
  }
}

const LINGER_MS = 2000;

/** One call's stream. */
class ClientStream implements UpstreamStream, StreamUser {
  readonly #connection: Http2ClientConnection;
  readonly #codec: Http2Codec<StreamUser>;
  readonly #transport: SocketTransport;
  #stream: Http2Stream<StreamUser> | undefined;
  receiver: UpstreamReceiver | undefined;
  #upgrade: string | undefined;
  #webSocketKey: string | undefined;
  #awaitsTransport = false;
  readonly callsBefore: number;
  /** As in Http1ClientConnection. */
  #sentMs = -1;
  /** Of the answer's body, bytes. */
  #received = 0;

  constructor(connection: Http2ClientConnection, codec: Http2Codec<StreamUser>, transport: SocketTransport) {
    this.#connection = connection;
    this.#codec = codec;
    this.#transport = transport;
    this.callsBefore = connection.calls;
  }

  send(request: OutgoingRequest, receiver: UpstreamReceiver): void {
    const codec = this.#codec;
    this.receiver = receiver;
    this.#sentMs = this.#connection.load.begin();
    this.#connection.noteCall();
    const { upgrade } = request;
    const method = upgrade === undefined ? request.method : "CONNECT";
    const stream = codec.open(method);
    stream.allowance = receiver.allowance;
    this.#stream = stream;
    this.#upgrade = upgrade;
    this.#webSocketKey = request.webSocketKey;
    stream.user = this;
    codec.beginHeaders(stream);
    try {
      this.#writeFields(request, method);
    } catch (error) {
      codec.dropHeaders(stream);
      throw error;
    }
    codec.endHeaders(stream, false);
    this.#transport.touch();
  }

  #writeFields(request: OutgoingRequest, method: string): void {
    const codec = this.#codec;
    const { upgrade, framing } = request;
    codec.field(":method", method);
    if (upgrade !== undefined) codec.field(":protocol", upgrade);
    codec.field(":scheme", this.#connection.scheme);
    if (request.authority !== "") codec.field(":authority", request.authority);
    codec.field(":path", request.target);
    if (request.lines !== undefined) codec.lines(request.lines);
    const { fields } = request;
    for (let at = 0; at < fields.length; at += 2) {
      const name = fields[at] as string;
      if (name === "te") {
        if (welcomesTrailers(fields[at + 1] as string)) codec.field("te", "trailers");
      } else if (!isHopByHop(name)) codec.field(name, fields[at + 1] as string);
    }
    if (framing.kind === "length" && upgrade === undefined) codec.field("content-length", String(framing.length));
  }

  data(chunk: Uint8Array): void {
    if (this.#stream === undefined) return;
    this.#codec.data(this.#stream, chunk);
    this.#transport.touchSoon();
  }

  end(trailers: Fields | undefined): void {
    // an upgrade's request has no body, and yet its stream stays open: it is the tunnel
    if (this.#stream === undefined || (this.#upgrade !== undefined && !this.#isTunnel)) return;
    this.#codec.end(this.#stream, trailers);
    // behind the end, which rides on the frame before
    if (this.#connection.expectsMuch) this.#codec.expectMuch(this.#stream);
    this.#transport.touch();
  }

  #isTunnel = false;

  becomeTunnel(): void {
    this.#isTunnel = true;
  }

  abort(timedOut: boolean): void {
    this.receiver = undefined;
    if (timedOut) this.#connection.load.failed();
    if (this.#stream === undefined) return;
    this.#codec.resetStream(this.#stream, this.#stream.remoteEnded ? NO_ERROR : CANCEL);
    this.#transport.touch();
  }

  get congested(): boolean {
    const transport = this.#transport.congested;
    if (transport) this.#awaitsTransport = true;
    return (this.#stream !== undefined && this.#codec.isCongested(this.#stream)) || transport;
  }

  onStreamWritable(): void {
    if (!this.#awaitsTransport) this.receiver?.onUpstreamDrain();
  }

  onTransportWritable(): void {
    if (!this.#awaitsTransport) return;
    this.#awaitsTransport = false;
    if (this.#stream !== undefined && !this.#codec.isCongested(this.#stream)) this.receiver?.onUpstreamDrain();
  }

  sipResponse(): void {
    // a head comes whatever is paused
    this.pauseResponse();
  }

  pauseResponse(): void {
    if (this.#stream !== undefined) this.#codec.pauseData(this.#stream);
  }

  resumeResponse(): void {
    if (this.#stream === undefined) return;
    this.#codec.resume(this.#stream);
    this.#transport.touch();
  }

  onHead(head: ResponseHead): void {
    if (head.status >= 200) this.#connection.load.answered(this.#sentMs, head.status);
    const upgrade = this.#upgrade;
    if (upgrade === undefined || head.status < 200 || head.status >= 300) {
      this.receiver?.onResponseHead(head);
      return;
    }
    // the success of an extended CONNECT is what HTTP/1.1 calls 101 (RFC 8441 section 5)
    const key = this.#webSocketKey;
    const accept = key === undefined ? [] : ["sec-websocket-accept", webSocketAccept(key)];
    const lower = head.fields.lower.filter((name) => name !== "sec-websocket-accept");
    const raw = head.fields.raw.filter((_, at) => head.fields.lower[at >> 1] !== "sec-websocket-accept");
    const fields: Fields = {
      raw: [...raw, ...accept],
      lower: accept.length === 0 ? lower : [...lower, "sec-websocket-accept"],
    };
    this.receiver?.onResponseHead({
      ...head,
      status: 101,
      reason: "Switching Protocols",
      fields,
      framing: { kind: "none" },
      upgrade,
    });
  }

  onData(chunk: Uint8Array): void {
    this.#received += chunk.length;
    this.receiver?.onResponseData(chunk);
  }

  onEnd(trailers: Fields | undefined): void {
    this.receiver?.onResponseEnd(trailers);
  }

  onClosed(): void {
    this.#callOver();
  }

  #callOver(): void {
    if (this.#sentMs === -1) return;
    this.#sentMs = -1;
    this.#connection.noteAnswer(this.#received);
    this.#connection.load.ended();
  }

  fail(error: CountersignError): void {
    const { receiver } = this;
    this.receiver = undefined;
    this.#callOver();
    receiver?.onUpstreamFailed(error);
  }
}

/** A tunnel's stream. */
class TunnelStream implements StreamUser {
  readonly #transport: StreamTransport<StreamUser>;
  readonly #load: EndpointLoad;
  readonly #address: string;
  #over = false;

  constructor(transport: StreamTransport<StreamUser>, load: EndpointLoad, address: string) {
    this.#transport = transport;
    this.#load = load;
    this.#address = address;
    load.begin();
  }

  onHead({ status, fields }: ResponseHead): void {
    if (status >= 200 && status < 300) {
      this.#load.succeeded();
      return;
    }
    const code = fieldValue(fields, "x-countersign-code") ?? `status ${status}`;
    const error = new CountersignError("E_TUNNEL_REFUSED", `${this.#address} refused the tunnel: ${printable(code)}`);
    this.#transport.abort(error);
  }

  onData(chunk: Uint8Array): void {
    this.#transport.onData(chunk);
  }

  onEnd(): void {
    this.#transport.onEnd();
  }

  fail(error: CountersignError): void {
    this.#callOver();
    this.#transport.onClosed(error);
  }

  #callOver(): void {
    if (this.#over) return;
    this.#over = true;
    this.#load.ended();
  }

  onStreamWritable(): void {
    this.#transport.onStreamWritable();
  }

  onTransportWritable(): void {
    this.#transport.onCarrierWritable();
  }

  onClosed(): void {
    this.#callOver();
    this.#transport.onClosed(undefined);
  }
}
