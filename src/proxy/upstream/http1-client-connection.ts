import { CountersignError } from "../../core/errors.ts";
import type { HasDeadline } from "../deadlines.ts";
import { fairTurns } from "../fair-turns.ts";
import type { OutgoingRequest, UpstreamReceiver, UpstreamStream } from "../http-streams.ts";
import type {
  Fields,
  Http1Limits,
  Http1ResponseDecoder,
  Http1ResponseEvents,
  Http1Violation,
  ResponseHead,
} from "../http1/http1-events.ts";
import { createResponseDecoder } from "../http1/response-decoder.ts";
import { writeChunk, writeLastChunk, writeRequestHead } from "../http1/write-head.ts";
import { limitReads } from "../socket-reads.ts";
import { SocketTransport, type TransportOwner } from "../transport.ts";
import { reasonOf } from "./dial.ts";
import { isServersFault, PooledConnection, type PooledParts } from "./pooled-connection.ts";

/** A head, mostly; what it brings of a body has to be kept. */
const SIP_BYTES = 2048;

export interface ClientConnectionParts extends PooledParts {
  readonly limits: Http1Limits;
}

export interface ClientConnectionOwner {
  /** The connection has finished its call and may carry another. */
  onIdle(connection: Http1ClientConnection): void;
  onClosed(connection: Http1ClientConnection): void;
}

/** One HTTP/1.1 connection to an upstream: carries one call at a time. */
export class Http1ClientConnection
  extends PooledConnection
  implements UpstreamStream, Http1ResponseEvents, TransportOwner, HasDeadline
{
  readonly #transport: SocketTransport;
  readonly #decoder: Http1ResponseDecoder;
  readonly #owner: ClientConnectionOwner;
  #receiver: UpstreamReceiver | undefined;
  #callsBefore = 0;
  /** When the call under way was sent, monotonic; -1 without one. */
  #sentMs = -1;
  #chunked = false;
  #requestEnded = true;
  #responseEnded = false;
  #keepAlive = true;
  #trailers: Fields | undefined;
  #upgraded = false;
  #tunnel = false;
  #paused = false;
  #sipping = false;
  /** The server's own patience, from its Keep-Alive field (draft-thomson-hybi-http-timeout); Infinity if it said none. */
  #serverIdleMs = Number.POSITIVE_INFINITY;
  /** Monotonic; used by the pool while idle. */
  deadlineMs = Number.POSITIVE_INFINITY;

  constructor(parts: ClientConnectionParts, owner: ClientConnectionOwner) {
    super(parts);
    this.#owner = owner;
    this.#transport = new SocketTransport(parts.dialed.socket, this);
    this.#decoder = createResponseDecoder(parts.limits, this);
  }

  get callsBefore(): number {
    return this.#callsBefore;
  }

  get closed(): boolean {
    return this.#transport.closed;
  }

  get serverIdleMs(): number {
    return this.#serverIdleMs;
  }

  send(request: OutgoingRequest, receiver: UpstreamReceiver): void {
    this.deadlineMs = Number.POSITIVE_INFINITY;
    this.#sentMs = this.load.begin();
    this.#receiver = receiver;
    this.#requestEnded = false;
    this.#responseEnded = false;
    this.#chunked = request.framing.kind === "chunked";
    this.#decoder.expect(request);
    writeRequestHead(this.#transport.out, request);
    this.#transport.touch();
  }

  data(chunk: Uint8Array): void {
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
    if (this.#requestEnded) return;
    this.#requestEnded = true;
    if (this.#chunked) {
      writeLastChunk(this.#transport.out, trailers);
      this.#transport.touch();
    }
    if (this.#responseEnded) this.#complete();
  }

  abort(timedOut: boolean): void {
    this.#receiver = undefined;
    if (timedOut) this.load.failed();
    this.#callOver();
    // a caller may give up a hundred at once, and closing costs: nothing comes or goes on it any more, and it closes when there is time
    this.#transport.out.reset();
    this.#transport.pause();
    fairTurns.tidy(() => this.#transport.destroy());
  }

  #callOver(): void {
    if (this.#sentMs === -1) return;
    this.#sentMs = -1;
    this.load.ended();
  }

  get congested(): boolean {
    return this.#transport.congested;
  }

  sipResponse(): void {
    this.#sipping = true;
    limitReads(this.#transport.socket, SIP_BYTES);
  }

  pauseResponse(): void {
    this.#paused = true;
    this.#transport.pause();
  }

  resumeResponse(): void {
    if (this.#sipping) {
      this.#sipping = false;
      limitReads(this.#transport.socket, undefined);
    }
    if (!this.#paused) return;
    this.#paused = false;
    this.#transport.resume();
  }

  becomeTunnel(): void {
    this.#tunnel = true;
  }

  onDeadline(): void {
    this.#transport.destroy();
  }

  /** Closes an idle connection. */
  close(): void {
    if (this.#receiver === undefined) this.#transport.destroy();
  }

  /** Ends the connection and its call, if any, with this error. */
  fail(error: CountersignError): void {
    const receiver = this.#receiver;
    this.#receiver = undefined;
    if (receiver !== undefined && isServersFault(error)) this.load.failed();
    this.#callOver();
    this.#transport.destroy();
    receiver?.onUpstreamFailed(error);
  }

  // ── decoder events ──

  onHead(head: ResponseHead): void {
    if (head.status === 101) this.#upgraded = true;
    if (head.status >= 200 || head.status === 101) this.load.answered(this.#sentMs, head.status);
    if (head.status >= 200) {
      this.#keepAlive = head.keepAlive;
      this.#serverIdleMs = keepAliveTimeoutMs(head.fields);
    }
    this.#receiver?.onResponseHead(head);
  }

  onData(chunk: Uint8Array): void {
    this.#receiver?.onResponseData(chunk);
  }

  onEnd(trailers: Fields | undefined): void {
    // a 101's onEnd only says that the tunnel begins
    if (this.#upgraded) return;
    this.#responseEnded = true;
    this.#trailers = trailers;
  }

  // ── socket events ──

  onBytes(chunk: Uint8Array): void {
    let from = 0;
    while (from < chunk.length) {
      if (this.#tunnel) {
        this.#receiver?.onResponseData(from === 0 ? chunk : chunk.subarray(from));
        return;
      }
      if (this.#receiver === undefined || this.#responseEnded) {
        // bytes that nobody asked for: RFC 9112 section 9.2 wants the connection closed
        this.#keepAlive = false;
        this.#transport.destroy();
        return;
      }
      const next = this.#decoder.push(chunk, from);
      if (typeof next !== "number") {
        this.#violated(next);
        return;
      }
      from = next;
      if (this.#responseEnded) {
        if (from < chunk.length) this.#keepAlive = false;
        this.#complete();
      }
    }
  }

  #violated(violation: Http1Violation): void {
    this.fail(new CountersignError("E_UPSTREAM_PROTOCOL", violation.error.message, { cause: violation.error }));
  }

  /** The response is complete. The connection is idle before its call hears of it, so that the caller's next request finds it. */
  #complete(): void {
    const receiver = this.#receiver;
    if (receiver === undefined) return;
    const trailers = this.#trailers;
    this.#trailers = undefined;
    this.#receiver = undefined;
    this.#callOver();
    this.#callsBefore++;
    this.resumeResponse();
    if (this.#requestEnded && this.#keepAlive && !this.#transport.closed) this.#owner.onIdle(this);
    else this.#transport.destroy();
    receiver.onResponseEnd(trailers);
  }

  onFin(): void {
    if (this.#tunnel) {
      this.#receiver?.onResponseEnd(undefined);
      return;
    }
    if (this.#receiver === undefined) {
      this.#transport.destroy();
      return;
    }
    const violation = this.#decoder.end();
    this.#keepAlive = false;
    if (this.#responseEnded) this.#complete();
    else this.#lost(violation);
  }

  #lost(violation: Http1Violation | undefined): void {
    const error = this.#transport.error;
    const why = error === undefined ? (violation?.error.message ?? "closed the connection") : reasonOf(error);
    this.fail(new CountersignError("E_UPSTREAM_CLOSED", `${this.address}: ${why}`, { cause: error }));
  }

  onWritable(): void {
    this.#receiver?.onUpstreamDrain();
  }

  onGone(): void {
    if (this.#receiver !== undefined) this.#lost(undefined);
    this.#callOver();
    this.#owner.onClosed(this);
  }
}

/** `timeout=5` of a Keep-Alive field in milliseconds, less a second for the way; Infinity without one. */
function keepAliveTimeoutMs(fields: Fields): number {
  const at = fields.lower.indexOf("keep-alive");
  if (at === -1) return Number.POSITIVE_INFINITY;
  const value = fields.raw[at * 2 + 1] ?? "";
  const start = value.indexOf("timeout=");
  if (start === -1) return Number.POSITIVE_INFINITY;
  const seconds = Number.parseInt(value.slice(start + 8, start + 16), 10);
  return Number.isInteger(seconds) && seconds >= 0 ? Math.max(0, seconds * 1000 - 1000) : Number.POSITIVE_INFINITY;
}
