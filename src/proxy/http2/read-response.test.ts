import { describe, expect, test } from "vitest";
import { fieldsOf, type Pairs } from "../../../test/support/hpack-literals.ts";
import type { Fields, ResponseHead } from "../http1/http1-events.ts";
import type { Http2Fault } from "./http2-fault.ts";
import { readResponse, readTrailers } from "./read-response.ts";

const OK: Pairs = [[":status", "200"]];

function read(pairs: Pairs, endStream = false, method = "GET"): ResponseHead | Http2Fault {
  const fields = fieldsOf(pairs);
  return readResponse(fields, fields.length, endStream, method);
}

function accepted(pairs: Pairs, endStream = false, method = "GET"): ResponseHead {
  const head = read(pairs, endStream, method);
  if ("code" in head) throw new Error(head.detail);
  return head;
}

test("a response's head is all there, without :status among its fields", () => {
  expect(accepted([...OK, ["content-type", "text/plain"], ["set-cookie", "a=1"], ["set-cookie", "b=2"]])).toEqual({
    version: 2,
    status: 200,
    reason: "OK",
    minor: 1,
    fields: {
      raw: ["content-type", "text/plain", "set-cookie", "a=1", "set-cookie", "b=2"],
      lower: ["content-type", "set-cookie", "set-cookie"],
    },
    framing: { kind: "chunked" },
    declaredLength: undefined,
    keepAlive: true,
    upgrade: undefined,
    connectionNames: [],
  });
});

test.each(["100", "103", "200", "204", "304", "404", "599", "999"])("status %s is read", (status) => {
  expect(accepted([[":status", status]]).status).toBe(Number(status));
});

test.each<[string, Pairs, string]>([
  ["nothing at all", [], "E_HTTP_RESPONSE_HEAD"],
  ["no :status", [["server", "x"]], "E_HTTP_RESPONSE_HEAD"],
  ["two", [...OK, [":status", "200"]], "E_HTTP_RESPONSE_HEAD"],
  [
    "one behind a field",
    [
      ["server", "x"],
      [":status", "200"],
    ],
    "E_HTTP_RESPONSE_HEAD",
  ],
  ["a second behind a field", [...OK, ["server", "x"], [":status", "200"]], "E_HTTP_RESPONSE_HEAD"],
  ["a request's pseudo-header", [...OK, [":path", "/"]], "E_HTTP_RESPONSE_HEAD"],
  ["a request's pseudo-header first", [[":path", "/"], ...OK], "E_HTTP_RESPONSE_HEAD"],
  ["an unknown pseudo-header", [...OK, [":x", "/"]], "E_HTTP_RESPONSE_HEAD"],
  ["an empty one", [[":status", ""]], "E_HTTP_RESPONSE_HEAD"],
  ["two digits", [[":status", "20"]], "E_HTTP_RESPONSE_HEAD"],
  ["four digits", [[":status", "2000"]], "E_HTTP_RESPONSE_HEAD"],
  ["a letter", [[":status", "2x0"]], "E_HTTP_RESPONSE_HEAD"],
  ["a sign", [[":status", "+20"]], "E_HTTP_RESPONSE_HEAD"],
  ["a reason", [[":status", "200 OK"]], "E_HTTP_RESPONSE_HEAD"],
  ["a number below 100", [[":status", "099"]], "E_HTTP_RESPONSE_HEAD"],
  ["101", [[":status", "101"]], "E_HTTP_RESPONSE_UPGRADE"],
  ["connection", [...OK, ["connection", "close"]], "E_HTTP2_HEAD"],
  ["transfer-encoding", [...OK, ["transfer-encoding", "chunked"]], "E_HTTP2_HEAD"],
  ["te", [...OK, ["te", "gzip"]], "E_HTTP2_HEAD"],
  ["an imitated content-length", [...OK, ["content_length", "1"]], "E_HTTP_FIELD_NAME"],
  ["an upper-case name", [...OK, ["Server", "x"]], "E_HTTP_FIELD_NAME"],
  ["a line end in a value", [...OK, ["x-a", "b\r\nc: d"]], "E_HTTP_FIELD_VALUE"],
  ["two lengths", [...OK, ["content-length", "1"], ["content-length", "1"]], "E_HTTP_RESPONSE_FRAMING"],
  ["a length that is none", [...OK, ["content-length", "1x"]], "E_HTTP_RESPONSE_FRAMING"],
])("a response with %s is refused", (_name, pairs, code) => {
  expect(read(pairs)).toMatchObject({ code });
});

describe("the framing of a response", () => {
  type Row = [
    status: string,
    length: string | undefined,
    endStream: boolean,
    method: string,
    kind: string,
    declared: number | undefined,
  ];
  test.each<Row>([
    ["200", undefined, false, "GET", "chunked", undefined],
    ["200", "12", false, "GET", "length", 12],
    ["200", "0", false, "GET", "length", 0],
    ["200", undefined, true, "GET", "none", 0],
    ["200", "0", true, "GET", "none", 0],
    ["200", undefined, true, "HEAD", "none", undefined],
    ["200", "12", true, "HEAD", "none", 12],
    ["200", undefined, false, "HEAD", "none", undefined],
    ["304", "12", true, "GET", "none", 12],
    ["304", undefined, true, "GET", "none", undefined],
    ["204", undefined, true, "GET", "none", undefined],
    ["103", undefined, false, "GET", "none", undefined],
    ["200", undefined, false, "CONNECT", "none", undefined],
    ["403", "5", false, "CONNECT", "length", 5],
  ])(
    "of %s with length %s, ended: %s, to %s is %s, declared %s",
    (status, length, endStream, method, kind, declared) => {
      const pairs: Pairs = length === undefined ? [] : [["content-length", length]];
      const head = accepted([[":status", status], ...pairs], endStream, method);
      expect(head.framing).toEqual(kind === "length" ? { kind, length: declared } : { kind });
      expect(head.declaredLength).toBe(declared);
    },
  );

  test("must not announce a body where the response ends", () => {
    expect(read([...OK, ["content-length", "1"]], true)).toMatchObject({ code: "E_HTTP_RESPONSE_FRAMING" });
  });
});

describe("trailers", () => {
  function trailers(pairs: Pairs): Fields | undefined | Http2Fault {
    const fields = fieldsOf(pairs);
    return readTrailers(fields, fields.length);
  }

  test("are kept as they come", () => {
    expect(
      trailers([
        ["grpc-status", "0"],
        ["grpc-message", ""],
        ["x-a", "1"],
        ["x-a", "2"],
      ]),
    ).toEqual({
      raw: ["grpc-status", "0", "grpc-message", "", "x-a", "1", "x-a", "2"],
      lower: ["grpc-status", "grpc-message", "x-a", "x-a"],
    });
  });

  test.each([
    "content-length",
    "host",
    "authorization",
    "cookie",
    "set-cookie",
    "te",
    "x-forwarded-for",
    "x-countersign-id",
    "content_length",
  ])("lose %s", (name) => {
    expect(
      trailers([
        [name, "1"],
        ["x-a", "1"],
      ]),
    ).toEqual({ raw: ["x-a", "1"], lower: ["x-a"] });
    expect(trailers([[name, "1"]])).toBeUndefined();
  });

  test("may be empty", () => {
    expect(trailers([])).toBeUndefined();
  });

  test.each<[string, Pairs, string]>([
    ["a pseudo-header", [[":status", "200"]], "E_HTTP2_HEAD"],
    [
      "a pseudo-header behind a field",
      [
        ["x-a", "1"],
        [":path", "/"],
      ],
      "E_HTTP2_HEAD",
    ],
    ["transfer-encoding", [["transfer-encoding", "chunked"]], "E_HTTP2_HEAD"],
    ["connection", [["connection", "x-a"]], "E_HTTP2_HEAD"],
    ["an upper-case name", [["X-A", "1"]], "E_HTTP_FIELD_NAME"],
    ["a line end", [["x-a", "b\nc"]], "E_HTTP_FIELD_VALUE"],
  ])("are refused with %s", (_name, pairs, code) => {
    expect(trailers(pairs)).toMatchObject({ code });
  });
});
