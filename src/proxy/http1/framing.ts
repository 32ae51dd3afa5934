import { isToken } from "./byte-classes.ts";
import type { BodyFraming } from "./http1-events.ts";
import type { Fault } from "./http1-fault.ts";

export const NO_BODY: BodyFraming = { kind: "none" };
export const CHUNKED: BodyFraming = { kind: "chunked" };
export const UNTIL_CLOSE: BodyFraming = { kind: "close" };

export const BAD_LENGTH: Fault = {
  code: "E_HTTP_CONTENT_LENGTH",
  detail: "Content-Length is not one plain number below 2^53",
};
export const TWO_FRAMINGS: Fault = {
  code: "E_HTTP_TWO_FRAMINGS",
  detail: "there are both Content-Length and Transfer-Encoding",
};
export const OLD_CODING: Fault = {
  code: "E_HTTP_TRANSFER_ENCODING",
  detail: "there is a Transfer-Encoding in HTTP/1.0",
};
const MALFORMED_CODING: Fault = {
  code: "E_HTTP_TRANSFER_ENCODING",
  detail: "Transfer-Encoding is not one final chunked",
};
const UNKNOWN_CODING: Fault = {
  code: "E_HTTP_TRANSFER_CODING",
  detail: "Transfer-Encoding names a coding other than chunked",
};

/** Content-Length's value, or -1 unless it is 1 to 16 decimal digits and exact (RFC 9110 section 8.6). */
export function parseContentLength(text: string): number {
  if (text.length === 0 || text.length > 16) return -1;
  let length = 0;
  for (let at = 0; at < text.length; at++) {
    const digit = text.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return -1;
    length = 10 * length + digit;
  }
  return length <= Number.MAX_SAFE_INTEGER ? length : -1;
}

/** What is wrong with a Transfer-Encoding (all its fields joined by commas); undefined if it is exactly `chunked`. RFC 9112 section 6.1. */
export function transferEncodingFault(value: string): Fault | undefined {
  if (value === "chunked") return undefined;
  const codings = value.split(",").map((coding) => trimOws(coding).toLowerCase());
  const { length } = codings;
  if (codings.some((coding, at) => !isToken(coding) || (coding === "chunked" && at < length - 1)))
    return MALFORMED_CODING;
  return length === 1 && codings[0] === "chunked" ? undefined : UNKNOWN_CODING;
}

/** Without leading and trailing SP and HTAB. Not trim(): that takes other characters too, which could hide what another program sees. */
export function trimOws(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && (text[start] === " " || text[start] === "\t")) start++;
  while (end > start && (text[end - 1] === " " || text[end - 1] === "\t")) end--;
  return text.slice(start, end);
}
