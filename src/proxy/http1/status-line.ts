import { SP, VALUE_BYTE } from "./byte-classes.ts";
import type { StartLineReader } from "./head-reader.ts";
import type { Http1Limits } from "./http1-events.ts";
import type { Fault } from "./http1-fault.ts";
import { isHttpName } from "./request-line.ts";

const MALFORMED: Fault = {
  code: "E_HTTP_REQUEST_LINE",
  detail: "the status line is not HTTP/1.1, three digits, reason",
};
const VERSION: Fault = { code: "E_HTTP_VERSION", detail: "the HTTP version is neither 1.0 nor 1.1" };

/** status-line of RFC 9112 section 4. The space before an empty reason may be missing, as from many servers. */
export class StatusLineReader implements StartLineReader {
  readonly limit: number;
  status = 0;
  /** Where the reason begins, counted from the line's first byte. */
  reasonStart = 0;
  reasonEnd = 0;
  minor: 0 | 1 = 1;

  constructor(limits: Http1Limits) {
    this.limit = limits.headBytes;
  }

  read(bytes: Uint8Array, start: number, end: number): Fault | undefined {
    if (end - start < 12 || !isHttpName(bytes, start) || bytes[start + 6] !== 46 /* . */ || bytes[start + 8] !== SP) {
      return MALFORMED;
    }
    const minor = bytes[start + 7];
    if (bytes[start + 5] !== 49 /* 1 */ || (minor !== 48 && minor !== 49)) return VERSION;
    let status = 0;
    for (let at = start + 9; at < start + 12; at++) {
      const digit = (bytes[at] as number) - 48;
      if (digit < 0 || digit > 9) return MALFORMED;
      status = 10 * status + digit;
    }
    if (status < 100) return MALFORMED;
    let at = start + 12;
    if (at < end) {
      if (bytes[at] !== SP) return MALFORMED;
      at++;
    }
    this.reasonStart = at - start;
    this.reasonEnd = end - start;
    while (at < end) if (VALUE_BYTE[bytes[at++] as number] === 0) return MALFORMED;
    this.status = status;
    this.minor = minor === 48 ? 0 : 1;
    return undefined;
  }
}
