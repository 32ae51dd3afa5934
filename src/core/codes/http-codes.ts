import type { CodeEntry } from "./code-entry.ts";

export const httpCodes = {
  E_HTTP_REQUEST_LINE: {
    meaning: "a request line is not METHOD, one space, target, one space, version (HTTP/0.9 has no version)",
    fix: "send an HTTP/1.1 request line",
  },
  E_HTTP_REQUEST_LINE_TOO_LONG: {
    meaning: "a request line is longer than limits.requestLine",
    fix: "send a shorter URL, or raise limits.requestLine",
  },
  E_HTTP_METHOD_CASE: {
    meaning: "a method differs from a standard one only in case, which policy and app could read differently",
    fix: "write standard methods in upper case",
  },
  E_HTTP_TARGET: {
    meaning: "a request target has a forbidden byte or a form that its method does not allow",
    fix: "percent-encode the target; use /path, http://host/path, host:port with CONNECT, or * with OPTIONS",
  },
  E_HTTP_VERSION: {
    meaning: "a request names an HTTP version other than 1.0 and 1.1",
    fix: "send HTTP/1.1, or HTTP/2 with its own preface",
  },
  E_HTTP_LINE_END: {
    meaning: "a line of a message head ends in, or holds, a bare CR or LF",
    fix: "end every line with CR LF",
  },
  E_HTTP_LINE_FOLD: {
    meaning: "a header line starts with white space (obsolete line folding)",
    fix: "write each header field on one line",
  },
  E_HTTP_FIELD_NAME: {
    meaning:
      "a header name is empty, not a token, followed by white space, or imitates a framing field with underscores",
    fix: "send names made of token characters, directly followed by a colon",
  },
  E_HTTP_FIELD_VALUE: {
    meaning: "a header value holds a control character",
    fix: "remove control characters from header values",
  },
  E_HTTP_HEAD_TOO_LARGE: {
    meaning: "a message head or trailer section is larger than limits.headBytes",
    fix: "send less in headers, or raise limits.headBytes",
  },
  E_HTTP_TOO_MANY_FIELDS: {
    meaning: "a message head or trailer section has more fields than limits.headFields",
    fix: "send fewer headers, or raise limits.headFields",
  },
  E_HTTP_HOST: {
    meaning: "Host is missing, repeated, empty, a list, or no plain host and port",
    fix: "send exactly one Host with a host name or address and an optional port",
  },
  E_HTTP_CONTENT_LENGTH: {
    meaning: "Content-Length is repeated, a list, not plain digits, or too large",
    fix: "send one Content-Length with decimal digits",
  },
  E_HTTP_TRANSFER_ENCODING: {
    meaning: "Transfer-Encoding is empty, malformed, not one final chunked, or in an HTTP/1.0 message",
    fix: "send Transfer-Encoding: chunked alone, in HTTP/1.1",
  },
  E_HTTP_TRANSFER_CODING: {
    meaning: "Transfer-Encoding names a coding other than chunked",
    fix: "use Content-Encoding for compression, and chunked as the only transfer coding",
  },
  E_HTTP_TWO_FRAMINGS: {
    meaning: "a message has both Content-Length and Transfer-Encoding",
    fix: "send one of them",
  },
  E_HTTP_CONNECT_BODY: {
    meaning: "a CONNECT request announces a body",
    fix: "send CONNECT without Content-Length and Transfer-Encoding",
  },
  E_HTTP_CONNECTION: {
    meaning: "Connection is not a list of names",
    fix: "send option and field names separated by commas",
  },
  E_HTTP_EXPECT: {
    meaning: "a request expects something other than 100-continue",
    fix: "remove the Expect header",
  },
  E_HTTP_CHUNK: {
    meaning: "a chunk's size line or end breaks the chunked coding",
    fix: "find out which program between the two ends writes broken chunks",
  },
  E_HTTP_CHUNK_EXTENSIONS: {
    meaning: "a message has more than 4 KiB of chunk extensions",
    fix: "send no chunk extensions",
  },
  E_HTTP_INCOMPLETE: {
    meaning: "the caller's stream ended inside a request",
    fix: "find out why the caller gave up: its own timeout, a crash, or the network",
  },
  E_HTTP_RESPONSE_HEAD: {
    meaning: "the head of an upstream's response breaks HTTP/1.1",
    fix: "correct the app, or find out what answers at its port",
  },
  E_HTTP_RESPONSE_TOO_LARGE: {
    meaning: "an upstream's response head is larger than limits.headBytes or limits.headFields",
    fix: "send less in headers, or raise the limit",
  },
  E_HTTP_RESPONSE_FRAMING: {
    meaning: "the length of an upstream's response body is contradictory or its chunked coding is broken",
    fix: "correct the app: one Content-Length, or Transfer-Encoding: chunked",
  },
  E_HTTP_RESPONSE_UPGRADE: {
    meaning: "an upstream switched protocols without being asked, or to another protocol",
    fix: "correct the app: 101 only in answer to Upgrade, with the same protocol",
  },
  E_HTTP_RESPONSE_UNEXPECTED: {
    meaning: "an upstream sent bytes that answer no request, or too many interim responses",
    fix: "correct the app: one response a request",
  },
  E_HTTP_RESPONSE_INCOMPLETE: {
    meaning: "an upstream's stream ended before its response was complete",
    fix: "look at the app's log: it crashed or closed the connection",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
