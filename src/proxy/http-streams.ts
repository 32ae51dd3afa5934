import type { CountersignError } from "../core/errors.ts";
import type { HeadLines } from "./http1/head-lines.ts";
import type { Fields, ResponseHead } from "./http1/http1-events.ts";
import type { WrittenRequest, WrittenResponse } from "./http1/write-head.ts";
import type { WindowAllowance } from "./http2/window-allowance.ts";

/** A request as it goes to an upstream: what policy saw, with our own fields set and hop-by-hop fields gone. */
export interface OutgoingRequest extends WrittenRequest {
  /** HTTP/2's pseudo-header; in HTTP/1.1 Host is among the lines. "" where there is none. */
  readonly authority: string;
  /** The HTTP version that the upstream is to get where it takes either. */
  readonly version: 1 | 2;
  /** It is useless to an upstream that speaks no HTTP/2: gRPC. */
  readonly needsHttp2: boolean;
  /** Of a WebSocket upgrade: the key that the answer must match (RFC 6455 section 4.1). */
  readonly webSocketKey: string | undefined;
}

/** A response as it goes to the caller. */
export type OutgoingResponse = WrittenResponse;

/** The caller's half of a call, whatever HTTP version carries it. */
export interface DownstreamStream {
  /** An interim (1xx) response. Throws TypeError for a field that can't be written, with nothing written; so does `respond`. */
  inform(status: number, reason: string, lines: HeadLines): void;
  respond(response: OutgoingResponse): void;
  data(chunk: Uint8Array): void;
  end(trailers: Fields | undefined): void;
  /** Breaks a response that has begun, so that the caller can't take it for complete. */
  abort(): void;
  /** Output is piling up; the call gets onDownstreamDrain later. */
  readonly congested: boolean;
  pauseRequest(): void;
  resumeRequest(): void;
  /** After a 101 the connection carries bytes both ways: data() and onRequestData without any framing. */
  becomeTunnel(): void;
  /** What may be under way to the caller's connection beyond each stream's first window; undefined where that carries one call at a time. */
  readonly allowance: WindowAllowance | undefined;
}

/** The upstream's half of a call. */
export interface UpstreamStream {
  /** Throws TypeError for a field that can't be written, with nothing written: the call is to be aborted then. */
  send(request: OutgoingRequest, receiver: UpstreamReceiver): void;
  data(chunk: Uint8Array): void;
  end(trailers: Fields | undefined): void;
  /** Gives the call up: nothing more is delivered and the connection carries no further call (HTTP/1.1). `timedOut`: because the upstream
   *  took too long, which is held against it. */
  abort(timedOut: boolean): void;
  readonly congested: boolean;
  /** The caller has no place for a body now, and yet must get the head: little is read at a time until resumeResponse. */
  sipResponse(): void;
  pauseResponse(): void;
  resumeResponse(): void;
  becomeTunnel(): void;
  /** Calls carried before this one: a reused connection may have been closed by its peer meanwhile. */
  readonly callsBefore: number;
}

/** What an upstream tells the call that it carries. */
export interface UpstreamReceiver {
  onResponseHead(head: ResponseHead): void;
  onResponseData(chunk: Uint8Array): void;
  onResponseEnd(trailers: Fields | undefined): void;
  onUpstreamDrain(): void;
  /** Of its caller. */
  readonly allowance: WindowAllowance | undefined;
  /** The connection failed before the response was complete. Nothing follows. */
  onUpstreamFailed(error: CountersignError): void;
}
