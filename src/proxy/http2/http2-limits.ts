import type { Http1Limits } from "../http1/http1-events.ts";
import type { FloodLimits } from "./flood-guard.ts";
import type { StallLimit } from "./stall-guard.ts";

/** What a peer may do too often on one connection, as the configuration's `limits.http2` has it. */
export interface AbuseLimits extends FloodLimits {
  /** CONTINUATION frames of one header block. */
  readonly continuations: number;
  /** Octets of HPACK's table that the peer fills (RFC 9113 section 6.5.2, SETTINGS_HEADER_TABLE_SIZE). */
  readonly headerTable: number;
  readonly stalledStreams: StallLimit;
}

/** What a listener sets for the HTTP/2 connections of its callers, and of its upstream. */
export interface Http2Options extends Http1Limits {
  readonly streams: number;
  /** Octets held of a stream whose reader rests. */
  readonly streamBuffer: number;
  readonly http2: AbuseLimits;
}

export interface Http2Limits extends Http1Limits {
  /** Streams that the other side may have open at once (RFC 9113 section 5.1.2). */
  readonly streams: number;
  /** Window of a stream at its start, octets: also what is held for one whose reader has stopped. */
  readonly streamWindow: number;
  /** What a stream's window grows to at once where its reader takes what comes, octets; `streamWindow` without it. */
  readonly fullWindow?: number;
  /** Window of a connection, octets. */
  readonly connectionWindow: number;
  readonly http2: AbuseLimits;
}

/** The largest payload of a frame, octets, in either direction. Larger DATA frames cost less; other frames are judged by the head limit. */
export const OUR_MAX_FRAME: number = 64 * 1024;
