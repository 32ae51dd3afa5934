import type { OutputBuffer } from "../http1/output-buffer.ts";

// Frame types (RFC 9113 section 6).
export const DATA = 0;
export const HEADERS = 1;
export const PRIORITY = 2;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PUSH_PROMISE = 5;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;

// Flags.
export const END_STREAM = 0x1;
export const ACK = 0x1;
export const END_HEADERS = 0x4;
export const PADDED = 0x8;
export const WITH_PRIORITY = 0x20;

// Settings (RFC 9113 section 6.5.2, RFC 8441 section 3).
export const SETTINGS_HEADER_TABLE_SIZE = 1;
export const SETTINGS_ENABLE_PUSH = 2;
export const SETTINGS_MAX_CONCURRENT_STREAMS = 3;
export const SETTINGS_INITIAL_WINDOW_SIZE = 4;
export const SETTINGS_MAX_FRAME_SIZE = 5;
export const SETTINGS_MAX_HEADER_LIST_SIZE = 6;
export const SETTINGS_ENABLE_CONNECT_PROTOCOL = 8;

// Error codes (RFC 9113 section 7).
export const NO_ERROR = 0;
export const PROTOCOL_ERROR = 1;
export const INTERNAL_ERROR = 2;
export const FLOW_CONTROL_ERROR = 3;
export const STREAM_CLOSED = 5;
export const FRAME_SIZE_ERROR = 6;
export const REFUSED_STREAM = 7;
export const CANCEL = 8;
export const COMPRESSION_ERROR = 9;
export const ENHANCE_YOUR_CALM = 11;

const ERROR_NAMES = [
  "NO_ERROR",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
  "INADEQUATE_SECURITY",
  "HTTP_1_1_REQUIRED",
];

/** The name of an error code, for people. */
export function errorName(code: number): string {
  return ERROR_NAMES[code] ?? `error ${code}`;
}

/** Octets of a frame's header. */
export const FRAME_HEADER_BYTES = 9;
/** The largest payload that we take and, without the peer's leave, send. */
export const MAX_FRAME_BYTES = 16_384;
/** The largest window (RFC 9113 section 6.9.1). */
export const MAX_WINDOW = 0x7fff_ffff;
/** Windows before anybody says otherwise. */
export const DEFAULT_WINDOW = 65_535;

/** What a client sends first (RFC 9113 section 3.4). */
export const CLIENT_PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/** Appends a frame's header; its payload of `length` octets is the caller's to append. */
export function writeFrameHeader(
  out: OutputBuffer,
  length: number,
  type: number,
  flags: number,
  streamId: number,
): void {
  // 24 bits of length and 8 of type are one 32-bit number
  out.uint32(((length << 8) | type) >>> 0);
  out.byte(flags);
  out.uint32(streamId);
}

/** Appends a RST_STREAM or WINDOW_UPDATE: a frame of one number. */
export function writeNumberFrame(out: OutputBuffer, type: number, streamId: number, value: number): void {
  writeFrameHeader(out, 4, type, 0, streamId);
  out.uint32(value);
}

/** Appends SETTINGS; `pairs` are identifier, value, identifier, value … */
export function writeSettings(out: OutputBuffer, pairs: readonly number[]): void {
  writeFrameHeader(out, 3 * pairs.length, SETTINGS, 0, 0);
  for (let at = 0; at < pairs.length; at += 2) {
    const id = pairs[at] as number;
    out.byte(id >>> 8);
    out.byte(id & 0xff);
    out.uint32(pairs[at + 1] as number);
  }
}

/** Appends a GOAWAY with a short reason for the other side's log. */
export function writeGoaway(out: OutputBuffer, lastStreamId: number, code: number, reason: string): void {
  writeFrameHeader(out, 8 + reason.length, GOAWAY, 0, 0);
  out.uint32(lastStreamId);
  out.uint32(code);
  out.latin1(reason);
}

/** The 31-bit number at `at`: the reserved bit is ignored. */
export function readUint31(bytes: Uint8Array, at: number): number {
  return readUint32(bytes, at) & 0x7fff_ffff;
}

export function readUint32(bytes: Uint8Array, at: number): number {
  const high = (bytes[at] as number) * 0x100_0000;
  return high + (((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number));
}
