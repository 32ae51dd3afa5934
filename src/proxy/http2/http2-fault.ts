import type { ErrorCode } from "../../core/error-codes.ts";

/** A rule that a message broke: the stream is reset, or a request answered with 400. Faults are constants: what a peer sent never enters
 *  their text. */
export interface Http2Fault {
  readonly code: ErrorCode;
  readonly detail: string;
}

export const BAD_NAME: Http2Fault = { code: "E_HTTP_FIELD_NAME", detail: "a field name is no token in lower case" };
export const BAD_VALUE: Http2Fault = {
  code: "E_HTTP_FIELD_VALUE",
  detail: "a field value holds a control character or has white space at an end",
};
export const IMITATION: Http2Fault = {
  code: "E_HTTP_FIELD_NAME",
  detail: "a field name imitates a framing field with underscores",
};
export const CONNECTION_FIELD: Http2Fault = {
  code: "E_HTTP2_HEAD",
  detail: "there is a field that belongs to HTTP/1.1 alone",
};
export const TE: Http2Fault = { code: "E_HTTP2_HEAD", detail: "te is not trailers" };

/** Whether a `te` value is the only one that HTTP/2 allows (RFC 9113 section 8.2.2). */
export function isTrailersOnly(te: string): boolean {
  return te === "trailers" || te.toLowerCase() === "trailers";
}
