import { describe, expect, test } from "vitest";
import { chunked, get, HOST, post, read, readOne, refuses } from "../../../test/support/http1-requests.ts";
import { usualLimits } from "../../../test/support/http1-transcript.ts";
import type { RequestHead } from "./http1-events.ts";

describe("framing", () => {
  test.each<[string, RequestHead["framing"], string]>([
    [get(""), { kind: "none" }, ""],
    [post(""), { kind: "none" }, ""],
    [post("Content-Length: 0\r\n"), { kind: "length", length: 0 }, ""],
    [post("Content-Length: 5\r\n", "hello"), { kind: "length", length: 5 }, "hello"],
    [post("content-length:\t0005 \r\n", "hello"), { kind: "length", length: 5 }, "hello"],
    [chunked("5\r\nhello\r\n0\r\n\r\n"), { kind: "chunked" }, "hello"],
    [post("Transfer-Encoding: CHUNKED\r\n", "0\r\n\r\n"), { kind: "chunked" }, ""],
    [post("transfer-encoding: \tchunked\t\r\n", "0\r\n\r\n"), { kind: "chunked" }, ""],
    ["POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", { kind: "length", length: 2 }, "hi"],
    [`CONNECT a:443 HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\n`, { kind: "none" }, ""],
  ])("%j has the framing %j", (text, framing, body) => {
    const message = readOne(text);
    expect(message.head.framing).toEqual(framing);
    expect(message.body).toBe(body);
  });

  test("a Content-Length of 2^53 - 1 is the largest", () => {
    const { messages, violation } = read(post("Content-Length: 9007199254740991\r\n", "x"));
    expect(messages[0]?.head.framing).toEqual({ kind: "length", length: Number.MAX_SAFE_INTEGER });
    expect(violation).toEqual({ code: "E_HTTP_INCOMPLETE", status: 400 });
  });

  const lengths = [
    "",
    "+5",
    "-5",
    "5 ,",
    "5, 5",
    "5,5",
    "5 5",
    "0x5",
    "5e1",
    "5.0",
    "\xb2",
    "9007199254740992",
    "99999999999999999999",
    "00000000000000005",
    "five",
    "5;",
  ];
  test.each(lengths)("refuses the Content-Length %j", (value) => {
    expect(read(post(`Content-Length: ${value}\r\n`, "hello")).violation).toEqual({
      code: "E_HTTP_CONTENT_LENGTH",
      status: 400,
    });
  });

  test.each<[string, string, number]>([
    ["", "E_HTTP_TRANSFER_ENCODING", 400],
    [",", "E_HTTP_TRANSFER_ENCODING", 400],
    ["chunked,", "E_HTTP_TRANSFER_ENCODING", 400],
    [",chunked", "E_HTTP_TRANSFER_ENCODING", 400],
    ["chunked, chunked", "E_HTTP_TRANSFER_ENCODING", 400],
    ["chunked, gzip", "E_HTTP_TRANSFER_ENCODING", 400],
    ["chunked, identity", "E_HTTP_TRANSFER_ENCODING", 400],
    ["chunked;q=1", "E_HTTP_TRANSFER_ENCODING", 400],
    ["chunked chunked", "E_HTTP_TRANSFER_ENCODING", 400],
    ['"chunked"', "E_HTTP_TRANSFER_ENCODING", 400],
    ["chunked\xa0", "E_HTTP_TRANSFER_ENCODING", 400],
    ["\x0bchunked", "E_HTTP_FIELD_VALUE", 400],
    ["chunked\0", "E_HTTP_FIELD_VALUE", 400],
    ["gzip", "E_HTTP_TRANSFER_CODING", 501],
    ["identity", "E_HTTP_TRANSFER_CODING", 501],
    ["gzip, chunked", "E_HTTP_TRANSFER_CODING", 501],
    ["xchunked", "E_HTTP_TRANSFER_CODING", 501],
    ["chunke", "E_HTTP_TRANSFER_CODING", 501],
    ["chunked\r\nTransfer-Encoding: chunked", "E_HTTP_TRANSFER_ENCODING", 400],
    ["chunked\r\nTransfer-Encoding: x", "E_HTTP_TRANSFER_ENCODING", 400],
    ["x\r\nTransfer-Encoding: chunked", "E_HTTP_TRANSFER_CODING", 501],
    ["chunked\r\nTransfer-Encoding:", "E_HTTP_TRANSFER_ENCODING", 400],
  ])("refuses the Transfer-Encoding %j", (value, code, status) => {
    const { messages, violation } = read(post(`Transfer-Encoding: ${value}\r\n`, "0\r\n\r\n"));
    expect(violation).toEqual({ code, status });
    expect(messages).toEqual([]);
  });

  refuses([
    [
      "two equal Content-Lengths",
      post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
      "E_HTTP_CONTENT_LENGTH",
      400,
    ],
    [
      "two different Content-Lengths",
      post("Content-Length: 5\r\ncontent-length: 6\r\n", "hello"),
      "E_HTTP_CONTENT_LENGTH",
      400,
    ],
    [
      "both framings",
      post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
      "E_HTTP_TWO_FRAMINGS",
      400,
    ],
    [
      "both in the other order",
      post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n"),
      "E_HTTP_TWO_FRAMINGS",
      400,
    ],
    ["both with an unknown coding", post("Transfer-Encoding: x\r\nContent-Length: 0\r\n"), "E_HTTP_TWO_FRAMINGS", 400],
    [
      "chunked in HTTP/1.0",
      "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "E_HTTP_TRANSFER_ENCODING",
      400,
    ],
    [
      "a CONNECT with a length",
      `CONNECT a:443 HTTP/1.1\r\n${HOST}Content-Length: 1\r\n\r\n`,
      "E_HTTP_CONNECT_BODY",
      400,
    ],
    [
      "a chunked CONNECT",
      `CONNECT a:443 HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n`,
      "E_HTTP_CONNECT_BODY",
      400,
    ],
  ]);
});

describe("chunks", () => {
  const kib4 = "x".repeat(4095);
  test.each<[string, string]>([
    ["5\r\nhello\r\n0\r\n\r\n", "hello"],
    ["2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello"],
    ["A\r\n0123456789\r\n0\r\n\r\n", "0123456789"],
    ["a\r\n0123456789\r\n000\r\n\r\n", "0123456789"],
    ["0000000000000005\r\nhello\r\n0\r\n\r\n", "hello"],
    ["2\r\n\r\n\r\n0\r\n\r\n", "\r\n"],
    ['5;a="b;c\\"";d\r\nhello\r\n0;e\r\n\r\n', "hello"],
    ["5; a = b\r\nhello\r\n0\r\n\r\n", "hello"],
    [`1;${kib4}\r\nx\r\n0\r\n\r\n`, "x"],
  ])("%j is read", (text, body) => {
    expect(readOne(chunked(text)).body).toBe(body);
  });

  test.each<[string, string]>([
    ["\r\n", "E_HTTP_CHUNK"],
    ["+5\r\nhello\r\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["-5\r\nhello\r\n0\r\n\r\n", "E_HTTP_CHUNK"],
    [" 5\r\nhello\r\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["5 \r\nhello\r\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["5 ;a\r\nhello\r\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["5\t\r\nhello\r\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["0x5\r\nhello\r\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["5h\r\nhello\r\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["5_0\r\nhello\r\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["\0\r\n", "E_HTTP_CHUNK"],
    [";a\r\nhello\r\n", "E_HTTP_CHUNK"],
    ["g\r\n", "E_HTTP_CHUNK"],
    ["20000000000000\r\n", "E_HTTP_CHUNK"],
    ["FFFFFFFFFFFFFFFF\r\n", "E_HTTP_CHUNK"],
    ["10000000000000005\r\nhello\r\n", "E_HTTP_CHUNK"],
    ["00000000000000005\r\nhello\r\n", "E_HTTP_CHUNK"],
    ["5\nhello\r\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["5\rhello\r\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["5;a\nhello\r\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["5;a\rb\r\nhello\r\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["5;a\0\r\nhello\r\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["5\r\nhello0\r\n\r\n", "E_HTTP_CHUNK"],
    ["5\r\nhello\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["5\r\nhello\r0\r\n\r\n", "E_HTTP_CHUNK"],
    ["5\r\nhelloXX0\r\n\r\n", "E_HTTP_CHUNK"],
    ["5\r\nhello\rX0\r\n\r\n", "E_HTTP_CHUNK"],
    ["5\r\nhelloX\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["0\rX\r\n", "E_HTTP_CHUNK"],
    ["4\r\nhello\r\n0\r\n\r\n", "E_HTTP_CHUNK"],
    ["0\r\n\n", "E_HTTP_LINE_END"],
    ["0\r\nX: y\n\r\n", "E_HTTP_LINE_END"],
    ["0\r\n X: y\r\n\r\n", "E_HTTP_LINE_FOLD"],
    ["0\r\nGET / HTTP/1.1\r\n\r\n", "E_HTTP_FIELD_NAME"],
    ["0\r\nX : y\r\n\r\n", "E_HTTP_FIELD_NAME"],
    ["0\r\nX: \0\r\n\r\n", "E_HTTP_FIELD_VALUE"],
    [`1;${kib4}y\r\nx\r\n0\r\n\r\n`, "E_HTTP_CHUNK_EXTENSIONS"],
    [`${"1;abcdefg\r\nx\r\n".repeat(513)}0\r\n\r\n`, "E_HTTP_CHUNK_EXTENSIONS"],
    ["5\r\nhel", "E_HTTP_INCOMPLETE"],
    ["5\r\nhello\r\n0\r\n", "E_HTTP_INCOMPLETE"],
    ["5\r\nhello\r\n0\r\nX: y\r\n", "E_HTTP_INCOMPLETE"],
  ])("refuses %j", (text, code) => {
    const { messages, violation } = read(chunked(text));
    expect(violation).toEqual({ code, status: 400 });
    expect(messages.map((message) => message.isComplete)).toEqual([false]);
  });
});

describe("trailers", () => {
  test("are kept when they say nothing of framing, routing or authentication", () => {
    const trailers = 'grpc-status: 0\r\nETag: "a"\r\nX-Checksum: 12\r\nServer-Timing: a\r\n';
    expect(readOne(chunked(`0\r\n${trailers}\r\n`)).trailers).toEqual([
      "grpc-status",
      "0",
      "ETag",
      '"a"',
      "X-Checksum",
      "12",
      "Server-Timing",
      "a",
    ]);
  });

  test.each([
    "Content-Length",
    "Transfer-Encoding",
    "Host",
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "Set-Cookie",
    "Content-Type",
    "Content-Encoding",
    "Content-Range",
    "Trailer",
    "TE",
    "Connection",
    "Upgrade",
    "Expect",
    "Cache-Control",
    "Range",
    "If-Match",
    "Via",
    "Forwarded",
    "X-Forwarded-For",
    "x_forwarded_for",
    "X-Forwarded-Client-Cert",
    "x_forwarded-client_cert",
    "X-Countersign-Id",
    "x_countersign_hops",
    "WWW-Authenticate",
    "X-Real-IP",
    "X-HTTP-Method-Override",
    "Age",
    "Location",
    "Sec-WebSocket-Key",
    "HTTP2-Settings",
  ])("%s is dropped from them", (name) => {
    const { trailers } = readOne(chunked(`0\r\n${name}: 1\r\nX-Kept: 2\r\n\r\n`));
    expect(trailers).toEqual(["X-Kept", "2"]);
    expect(readOne(chunked(`0\r\n${name}: 1\r\n\r\n`)).trailers).toBeUndefined();
  });

  test("have the limits of a head", () => {
    const limits = { ...usualLimits, headBytes: 200, headFields: 3 };
    expect(read(chunked(`0\r\n${"a: b\r\n".repeat(3)}\r\n`), limits).violation).toBeUndefined();
    expect(read(chunked(`0\r\n${"a: b\r\n".repeat(4)}\r\n`), limits).violation).toEqual({
      code: "E_HTTP_TOO_MANY_FIELDS",
      status: 431,
    });
    expect(read(chunked(`0\r\nx: ${"y".repeat(200)}\r\n\r\n`), limits).violation).toEqual({
      code: "E_HTTP_HEAD_TOO_LARGE",
      status: 431,
    });
  });
});
