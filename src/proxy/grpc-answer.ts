import type { ErrorCode } from "../core/error-codes.ts";
import type { OutgoingResponse } from "./http-streams.ts";

/** gRPC status codes (grpc/grpc doc/statuscodes.md). */
const DEADLINE_EXCEEDED = 4;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;

const LIMITS: ReadonlySet<ErrorCode> = new Set([
  "E_UPSTREAM_LIMIT",
  "E_CONNECTION_LIMIT",
  "E_OVERLOADED",
  "E_HTTP_HEAD_TOO_LARGE",
  "E_EXT_AUTHZ_BODY_TOO_LARGE",
]);

/** What a refusal is to a gRPC client. `status` is what an ordinary HTTP client would get. */
export function grpcStatusOf(code: ErrorCode, status: number): number {
  if (LIMITS.has(code)) return RESOURCE_EXHAUSTED;
  switch (status) {
    case 401:
      return UNAUTHENTICATED;
    case 403:
      return PERMISSION_DENIED;
    case 408:
    case 504:
      return DEADLINE_EXCEEDED;
    case 429:
    case 502:
    case 503:
      return UNAVAILABLE;
    default:
      return INTERNAL;
  }
}

/** An answer of ours to a gRPC call: a response of headers alone ("Trailers-Only", gRPC over HTTP/2), whose message says what
 *  localAnswer() would. */
export function grpcAnswer(grpcStatus: number, code: ErrorCode, detail: string, id: string): OutgoingResponse {
  const text = `countersign: ${code}${detail === "" ? "" : `: ${detail}`} (decision ${id})`;
  return {
    status: 200,
    reason: "OK",
    fields: [
      "content-type",
      "application/grpc",
      "grpc-status",
      String(grpcStatus),
      "grpc-message",
      percentEncoded(text),
      "x-countersign-code",
      code,
      "x-countersign-id",
      id,
    ],
    framing: { kind: "none" },
    close: false,
    upgrade: undefined,
  };
}

/** gRPC over HTTP/2, Percent-Encoded: everything but printable ASCII, and the percent sign, as %XX of its UTF-8 bytes. */
function percentEncoded(text: string): string {
  let encoded = "";
  for (const byte of Buffer.from(text, "utf8")) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}
