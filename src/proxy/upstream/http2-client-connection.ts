import type { ErrorCode } from "../../core/error-codes.ts";
import { CountersignError } from "../../core/errors.ts";
import { deadlineAfter, type HasDeadline } from "../deadlines.ts";
import type { UpstreamStream } from "../http-streams.ts";
import type { Fields, ResponseHead } from "../http1/http1-events.ts";
import { CONNECTION_WINDOW } from "../http2/connection-window.ts";
import { CANCEL, REFUSED_STREAM } from "../http2/frames.ts";
import { Http2Codec } from "../http2/http2-codec.ts";
import type { Http2Handler } from "../http2/http2-handler.ts";
import type { Http2Options } from "../http2/http2-limits.ts";
import type { Http2Stream } from "../http2/http2-stream.ts";
import { monotonicMs } from "../monotonic.ts";
import { StreamTransport } from "../stream-transport.ts";
import { SocketTransport, type Transport, type TransportOwner } from "../transport.ts";
import { TUNNEL_ALPN, TUNNEL_AUTHORITY, TUNNEL_PROTOCOL, tunnelPath } from "../tunnel-names.ts";
import type { ClientStreamUser } from "./client-stream-user.ts";
import { reasonOf } from "./dial.ts";
import { type CallCarrier, Http2ClientStream } from "./http2-client-stream.ts";
import { isServersFault, PooledConnection, type PooledParts } from "./pooled-connection.ts";
import { TunnelClientStream } from "./tunnel-client-stream.ts";

export interface Http2ClientParts extends PooledParts {
  readonly limits: Http2Options;
  /** How long a connection without calls is kept. */
  readonly idleMs: number;
  /** How long the other side may take to say that it speaks HTTP/2. */
  readonly settleMs: number;
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

const LINGER_MS = 2000;

/** One HTTP/2 connection to an upstream, shared by many calls. */
export class Http2ClientConnection
  extends PooledConnection
  implements CallCarrier, TransportOwner, HasDeadline, Http2Handler<ClientStreamUser>
{
  readonly #transport: SocketTransport;
  readonly #codec: Http2Codec<ClientStreamUser>;
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
    return new Http2ClientStream(this, this.#codec, this.#transport);
  }

  /** Opens a stream that stands for a connection to an inbound of the other sidecar; "": the one that this connection came to. */
  openTunnel(inbound: string): Transport {
    const codec = this.#codec;
    this.#calls++;
    const stream = codec.open("CONNECT");
    const transport = new StreamTransport(codec, stream, this.#transport);
    stream.user = new TunnelClientStream(transport, this.load, this.address);
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
  #lose(error: CountersignError, goesOn: (stream: Http2Stream<ClientStreamUser>) => boolean = () => false): void {
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

  onResponse(stream: Http2Stream<ClientStreamUser>, head: ResponseHead): void {
    stream.user?.onHead(head);
  }

  onData(stream: Http2Stream<ClientStreamUser>, chunk: Uint8Array): void {
    stream.user?.onData(chunk);
  }

  onEnd(stream: Http2Stream<ClientStreamUser>, trailers: Fields | undefined): void {
    stream.user?.onEnd(trailers);
  }

  onStreamClosed(stream: Http2Stream<ClientStreamUser>): void {
    stream.user?.onClosed();
  }

  onReset(stream: Http2Stream<ClientStreamUser>, errorCode: number, detail: string): void {
    const code: ErrorCode = errorCode === REFUSED_STREAM ? "E_UPSTREAM_REFUSED_STREAM" : "E_UPSTREAM_RESET";
    stream.user?.fail(new CountersignError(code, `${this.address}: ${detail}`));
  }

  onStreamWritable(stream: Http2Stream<ClientStreamUser>): void {
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
