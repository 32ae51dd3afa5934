import type { Http1Limits } from "../http1/http1-events.ts";
import type { FloodLimits } from "./flood-guard.ts";

export interface Http2Limits extends Http1Limits {
  /** Streams that the other side may have open at once (RFC 9113 section 5.1.2). */
  readonly streams: number;
  /** Window of a stream at its start, octets: also what is held for one whose reader has stopped. */
  readonly streamWindow: number;
  /** What a stream's window grows to at once where its reader takes what comes, octets; `streamWindow` without it. */
  readonly fullWindow?: number;
  /** Window of a connection, octets. */
  readonly connectionWindow: number;
  readonly flood: FloodLimits;
}

/** The largest payload of a frame, octets, in either direction. Larger DATA frames cost less; other frames are judged by the head limit. */
export const OUR_MAX_FRAME: number = 64 * 1024;
