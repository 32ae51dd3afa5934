import type { CountersignError } from "../../core/errors.ts";

/** How a message's body is framed on the wire. */
export type BodyFraming =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly length: number }
  | { readonly kind: "chunked" }
  /** Responses only: until the connection closes. */
  | { readonly kind: "close" };

/** Header fields as received: name, value, name, value … (names with their case, values trimmed of OWS). `lower` has the
 *  lower-cased names at index i/2. Both arrays belong to the event's receiver. */
export interface Fields {
  readonly raw: string[];
  readonly lower: string[];
}

export interface RequestHead {
  /** Major version of HTTP that the message came in. */
  readonly version: 1 | 2;
  readonly method: string;
  /** The request target as received. */
  readonly target: string;
  /** origin: `/path?query`; absolute: `http://host/path`; authority: CONNECT; asterisk: `*`. */
  readonly form: "origin" | "absolute" | "authority" | "asterisk";
  /** Of an absolute-form target, lower-cased; "" for every other form. */
  readonly scheme: "" | "http" | "https";
  /** `:scheme` of HTTP/2, which says nothing about the connection; absent in HTTP/1.x and for CONNECT. */
  readonly sentScheme?: "http" | "https" | undefined;
  /** The one valid Host, or the target's authority for absolute-form and CONNECT; "" only for HTTP/1.0 without Host.
   *  Where it is not "", `fields` hold exactly one Host with this value: a Host that the target overrides is replaced (RFC 9112
   *  section 3.2.2), so that policy, routing and the app see one name. */
  readonly authority: string;
  /** Path of the target, without query: always starts with "/" or is "*" (`OPTIONS *`, and OPTIONS with an absolute-form
   *  that has neither path nor query, RFC 9112 section 3.2.4); "" for CONNECT. Not normalised. */
  readonly path: string;
  /** With its leading "?", or "". */
  readonly query: string;
  /** 0 for HTTP/1.0, 1 for HTTP/1.1 and for HTTP/2. */
  readonly minor: 0 | 1;
  readonly fields: Fields;
  /** Never "close"; "none" for CONNECT. */
  readonly framing: BodyFraming;
  /** Whether the client lets the connection live after this message (version and Connection considered). */
  readonly keepAlive: boolean;
  /** `Expect: 100-continue` was there; always false in HTTP/1.0, where it is to be ignored (RFC 9110 section 10.1.1). */
  readonly expectContinue: boolean;
  /** Lower-cased Upgrade token, only if the request is HTTP/1.1 without a body, Connection names upgrade and exactly one token is
   *  offered, which is not h2c, HTTP or TLS; else undefined: the upgrade is ignored, as RFC 9110 section 7.8 lets us. */
  readonly upgrade: string | undefined;
  /** Lower-cased field names listed in Connection that are to be removed before policy looks: without close, keep-alive, upgrade
   *  and without the names that Connection may not remove (Host, framing, Authorization, Cookie and the like). */
  readonly connectionNames: readonly string[];
}

export interface ResponseHead {
  /** As in a request. */
  readonly version: 1 | 2;
  readonly status: number;
  /** Reason phrase as received, possibly "". */
  readonly reason: string;
  readonly minor: 0 | 1;
  readonly fields: Fields;
  /** What is on the wire: "none" for HEAD, 1xx, 204, 304 and 2xx to CONNECT. */
  readonly framing: BodyFraming;
  /** Content-Length as declared, also where no body follows (HEAD, 304); undefined if there is none. */
  readonly declaredLength: number | undefined;
  readonly keepAlive: boolean;
  /** Lower-cased Upgrade token of a 101. */
  readonly upgrade: string | undefined;
  readonly connectionNames: readonly string[];
}

/** Receiver of a decoder's events, in wire order: onHead, onData*, onEnd per message; onEnd comes for a message without body too,
 *  in the same push as its head. A body's bytes are views into the pushed chunk: valid during the call only, to be written
 *  on or copied. A receiver must not call the decoder, and must not throw, from inside an event. */
export interface Http1RequestEvents {
  onHead(head: RequestHead): void;
  onData(chunk: Uint8Array): void;
  /** `trailers` only for chunked bodies that had some that may be kept. */
  onEnd(trailers: Fields | undefined): void;
}

export interface Http1ResponseEvents {
  /** Also called for 1xx other than 101, which have no onEnd and are followed by another head. A 101 and a 2xx to CONNECT have their
   *  onEnd at once: what follows is the tunnel's and must not be pushed. */
  onHead(head: ResponseHead): void;
  onData(chunk: Uint8Array): void;
  onEnd(trailers: Fields | undefined): void;
}

/** A protocol violation: the code of the catalogue and the status to answer with (400, 408, 413, 414, 417, 431, 501, 505; 502 on the
 *  response side). After one the decoder is dead: every later push returns the same. */
export interface Http1Violation {
  readonly error: CountersignError;
  readonly status: number;
}

export interface Http1Limits {
  /** Start line and fields together with their line ends and the empty line, bytes; also bounds trailers. Default 61 440. */
  readonly headBytes: number;
  /** Number of fields. Default 100. */
  readonly headFields: number;
  /** Request line in bytes, without its line end. Default 16 384. */
  readonly requestLine: number;
  /** Refuse a method that differs from a standard one only in case (`get`), which some apps treat as that method and policy does
   *  not. Default true. */
  readonly refuseMethodCase?: boolean;
}

/** Contract of both decoders (bytes in, events out, no I/O, no timer):
 *
 *  push(chunk, from): consumes `chunk` from offset `from`, emits events, and returns the offset of the first byte not
 *  consumed, or a violation. It returns early, right after onEnd, at a message boundary: the next message is parsed only by the next
 *  push, so that a pipelined request waits until the owner is ready for it. Bytes of an incomplete head are kept inside
 *  (bounded by headBytes); a body chunk is never kept.
 *
 *  atBoundary: between messages with nothing buffered: an end of stream here is clean. A response decoder that awaits a response is
 *  not at a boundary.
 *  end(): the stream ended. Completes a close-framed response (onEnd) or returns a violation when mid-message. */
export interface Http1Decoder {
  push(chunk: Uint8Array, from: number): number | Http1Violation;
  end(): Http1Violation | undefined;
  readonly atBoundary: boolean;
}

/** The response decoder must know what it answers: HEAD and CONNECT change framing, and a 101 is believed only if an upgrade was asked. */
export interface Http1ResponseDecoder extends Http1Decoder {
  /** Must be called before the response to each request is pushed; bytes of a response that nobody asked for are a violation.
   *  Throws TypeError while the previous response is unfinished. */
  expect(request: { readonly method: string; readonly upgrade: string | undefined }): void;
}
