import { SP, TARGET_BYTE, TOKEN_LOWER } from "./byte-classes.ts";
import type { StartLineReader } from "./head-reader.ts";
import type { Http1Limits } from "./http1-events.ts";
import type { Fault } from "./http1-fault.ts";

const MALFORMED: Fault = { code: "E_HTTP_REQUEST_LINE", detail: "the request line is not METHOD target HTTP/1.1" };
export const METHOD_CASE: Fault = {
  code: "E_HTTP_METHOD_CASE",
  detail: "the method is a standard one in another case",
};
const TARGET: Fault = { code: "E_HTTP_TARGET", detail: "the request target holds a forbidden byte" };
const VERSION: Fault = { code: "E_HTTP_VERSION", detail: "the request's HTTP version is neither 1.0 nor 1.1" };

const QUESTION_MARK = 63;
const DOT = 46;
const ZERO = 48;
const NINE = 57;

const STANDARD_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"] as const;
const STANDARD: ReadonlySet<string> = new Set(STANDARD_METHODS);
/** By first byte: "GET" for G and so on. POST, PUT and PATCH share one. */
const METHODS_BY_FIRST: readonly (readonly string[])[] = Array.from({ length: 256 }, (_, byte) =>
  STANDARD_METHODS.filter((method) => method.charCodeAt(0) === byte),
);

/** Whether `method` is one of those that RFC 9110 and RFC 5789 define. */
export function isStandardMethod(method: string): boolean {
  return STANDARD.has(method);
}

/** Whether `method`, which is no standard one, would be one in upper case. */
export function isStandardInOtherCase(method: string): boolean {
  return STANDARD.has(method.toUpperCase());
}

/** Whether bytes[at …) begin with "HTTP/". */
export function isHttpName(bytes: Uint8Array, at: number): boolean {
  return (
    bytes[at] === 72 &&
    bytes[at + 1] === 84 &&
    bytes[at + 2] === 84 &&
    bytes[at + 3] === 80 &&
    bytes[at + 4] === 47 /* / */
  );
}

/** request-line of RFC 9112 section 3, without any of the leniency that it allows. Results count from the line's first byte. */
export class RequestLineReader implements StartLineReader {
  readonly limit: number;
  method = "";
  targetStart = 0;
  targetEnd = 0;
  /** Of the first `?`, or targetEnd. */
  queryStart = 0;
  minor: 0 | 1 = 1;
  readonly #refuseCase: boolean;

  constructor(limits: Http1Limits) {
    this.limit = Math.min(limits.requestLine, limits.headBytes);
    this.#refuseCase = limits.refuseMethodCase ?? true;
  }

  read(bytes: Buffer, start: number, end: number): Fault | undefined {
    let at = start;
    while (at < end && TOKEN_LOWER[bytes[at] as number] !== 0) at++;
    if (at === start || at === end || bytes[at] !== SP) return MALFORMED;
    const methodEnd = at;
    const targetStart = at + 1;
    let queryStart = -1;
    for (at = targetStart; at < end; at++) {
      const byte = bytes[at] as number;
      if (TARGET_BYTE[byte] === 0) break;
      if (byte === QUESTION_MARK && queryStart === -1) queryStart = at;
    }
    if (at === end || at === targetStart) return MALFORMED;
    if (bytes[at] !== SP) return TARGET;
    const version = at + 1;
    if (end - version !== 8 || !isHttpName(bytes, version) || bytes[version + 6] !== DOT) return MALFORMED;
    const major = bytes[version + 5] as number;
    const minor = bytes[version + 7] as number;
    if (major < ZERO || major > NINE || minor < ZERO || minor > NINE || major === ZERO) return MALFORMED;
    if (major !== ZERO + 1 || minor > ZERO + 1) return VERSION;
    this.minor = minor === ZERO ? 0 : 1;
    this.targetStart = targetStart - start;
    this.targetEnd = at - start;
    this.queryStart = (queryStart === -1 ? at : queryStart) - start;
    this.method = methodAt(bytes, start, methodEnd);
    return this.#refuseCase && !isStandardMethod(this.method) && isStandardInOtherCase(this.method)
      ? METHOD_CASE
      : undefined;
  }
}

function methodAt(bytes: Buffer, start: number, end: number): string {
  for (const method of METHODS_BY_FIRST[bytes[start] as number] as readonly string[]) {
    if (method.length !== end - start) continue;
    let at = 1;
    while (at < method.length && bytes[start + at] === method.charCodeAt(at)) at++;
    if (at === method.length) return method;
  }
  return bytes.toString("latin1", start, end);
}
