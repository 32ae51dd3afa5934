import { describe, expect, test } from "vitest";
import { everyByte, readRequests, usualLimits } from "../../../test/support/http1-transcript.ts";
import type { RequestHead } from "./http1-events.ts";
import { createRequestDecoder } from "./request-decoder.ts";

const HOST = "Host: a.example\r\n";
/** A GET with these further field lines. */
const get = (lines: string): string => `GET / HTTP/1.1\r\n${HOST}${lines}\r\n`;
const post = (lines: string, body = ""): string => `POST / HTTP/1.1\r\n${HOST}${lines}\r\n${body}`;
const chunked = (body: string): string => post("Transfer-Encoding: chunked\r\n", body);
const target = (text: string, method = "GET"): string => `${method} ${text} HTTP/1.1\r\n${HOST}\r\n`;
const host = (value: string): string => `GET / HTTP/1.1\r\nHost:${value}\r\n\r\n`;

/** Reads a stream whole and byte by byte, which must not differ. */
function read(text: string, limits = usualLimits): ReturnType<typeof readRequests> {
  const bytes = Buffer.from(text, "latin1");
  const whole = readRequests([bytes], limits);
  expect(readRequests(everyByte(bytes), limits)).toEqual(whole);
  return whole;
}

function readOne(text: string): { head: RequestHead; body: string; trailers: readonly string[] | undefined } {
  const { messages, violation } = read(text);
  expect(violation).toBeUndefined();
  expect(messages).toHaveLength(1);
  const [message] = messages;
  if (message === undefined) throw new Error("no message");
  return message;
}

/** name, stream, code, status. */
type Refused = readonly [string, string, string, number];

function refuses(cases: readonly Refused[]): void {
  test.each(cases)("refuses %s", (_, text, code, status) => {
    expect(read(text).violation).toEqual({ code, status });
  });
}

function accepts(cases: readonly (readonly [string, string])[]): void {
  test.each(cases)("accepts %s", (_, text) => {
    const { messages, violation } = read(text);
    expect(violation).toBeUndefined();
    expect(messages.map((message) => message.isComplete)).toEqual([true]);
  });
}

describe("the request line", () => {
  accepts([
    ["a plain GET", get("")],
    ["a method nobody knows", target("/", "M-SEARCH")],
    ["one empty line before it", `\r\n${get("")}`],
    ["marks that URLs are written with", target('/a|b{c}"<>^`\\;@:%00?x=?/')],
    ["HTTP/1.0", "GET / HTTP/1.0\r\n\r\n"],
  ]);
  refuses([
    ["two empty lines before it", `\r\n\r\n${get("")}`, "E_HTTP_LINE_END", 400],
    ["a bare LF before it", `\n${get("")}`, "E_HTTP_LINE_END", 400],
    ["a bare CR before it", `\rGET / HTTP/1.1\r\n${HOST}\r\n`, "E_HTTP_LINE_END", 400],
    ["HTTP/0.9 without a version", "GET /\r\n\r\n", "E_HTTP_REQUEST_LINE", 400],
    ["HTTP/0.9 with a version", `GET / HTTP/0.9\r\n${HOST}\r\n`, "E_HTTP_REQUEST_LINE", 400],
    ["HTTP/1.2", `GET / HTTP/1.2\r\n${HOST}\r\n`, "E_HTTP_VERSION", 505],
    ["HTTP/2.0", `GET / HTTP/2.0\r\n${HOST}\r\n`, "E_HTTP_VERSION", 505],
    ["the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "E_HTTP_VERSION", 505],
    ["HTTP/3.1", `GET / HTTP/3.1\r\n${HOST}\r\n`, "E_HTTP_VERSION", 505],
    ["a two-digit version", `GET / HTTP/1.10\r\n${HOST}\r\n`, "E_HTTP_REQUEST_LINE", 400],
    ["a version in lower case", `GET / http/1.1\r\n${HOST}\r\n`, "E_HTTP_REQUEST_LINE", 400],
    ["another protocol", `GET / ICAP/1.0\r\n${HOST}\r\n`, "E_HTTP_REQUEST_LINE", 400],
    ["a version without digits", `GET / HTTP/a.b\r\n${HOST}\r\n`, "E_HTTP_REQUEST_LINE", 400],
    ["a space at its end", `GET / HTTP/1.1 \r\n${HOST}\r\n`, "E_HTTP_REQUEST_LINE", 400],
    ["a space at its start", ` GET / HTTP/1.1\r\n${HOST}\r\n`, "E_HTTP_REQUEST_LINE", 400],
    ["two spaces after the method", `GET  / HTTP/1.1\r\n${HOST}\r\n`, "E_HTTP_REQUEST_LINE", 400],
    ["two spaces before the version", `GET /  HTTP/1.1\r\n${HOST}\r\n`, "E_HTTP_REQUEST_LINE", 400],
    ["a tab between its parts", `GET\t/ HTTP/1.1\r\n${HOST}\r\n`, "E_HTTP_REQUEST_LINE", 400],
    ["a tab in the target", `GET /\t HTTP/1.1\r\n${HOST}\r\n`, "E_HTTP_TARGET", 400],
    ["a second request line in its target", `GET / HTTP/1.1 /x HTTP/1.1\r\n${HOST}\r\n`, "E_HTTP_REQUEST_LINE", 400],
    ["a method that is no token", `GE(T / HTTP/1.1\r\n${HOST}\r\n`, "E_HTTP_REQUEST_LINE", 400],
    ["no method", `/ HTTP/1.1\r\n${HOST}\r\n`, "E_HTTP_REQUEST_LINE", 400],
    ["a bare LF as its end", `GET / HTTP/1.1\n${HOST}\r\n`, "E_HTTP_LINE_END", 400],
    ["a bare CR in it", `GET / HTTP/1.1\rX: y\r\n${HOST}\r\n`, "E_HTTP_LINE_END", 400],
    ["a NUL in the method", `GE\0T / HTTP/1.1\r\n${HOST}\r\n`, "E_HTTP_REQUEST_LINE", 400],
    ["a TLS ClientHello with a line end", "\x16\x03\x01\x02\x00\x01\n", "E_HTTP_LINE_END", 400],
  ]);

  test.each(["get", "Get", "pOST", "connect", "Options"])(
    "refuses the method %s, a standard one in another case",
    (method) => {
      expect(read(target("/", method)).violation).toEqual({ code: "E_HTTP_METHOD_CASE", status: 400 });
    },
  );

  test("lets methods of any case pass when that is switched off", () => {
    const { messages } = read(target("/", "get"), { ...usualLimits, refuseMethodCase: false });
    expect(messages[0]?.head.method).toBe("get");
  });
});

describe("the request target", () => {
  /** request line's method and target → form, scheme, authority, path, query. */
  test.each<[string, string, Partial<RequestHead>]>([
    ["GET", "/", { form: "origin", scheme: "", authority: "a.example", path: "/", query: "" }],
    ["GET", "/a/b?c=d?e", { form: "origin", path: "/a/b", query: "?c=d?e" }],
    ["GET", "/?", { form: "origin", path: "/", query: "?" }],
    ["GET", "//b.example/x", { form: "origin", authority: "a.example", path: "//b.example/x" }],
    ["GET", "/http://b.example/", { form: "origin", authority: "a.example", path: "/http://b.example/" }],
    ["OPTIONS", "*", { form: "asterisk", authority: "a.example", path: "*", query: "" }],
    ["CONNECT", "b.example:443", { form: "authority", authority: "b.example:443", path: "", query: "" }],
    ["CONNECT", "[::1]:443", { form: "authority", authority: "[::1]:443" }],
    [
      "GET",
      "http://b.example/x?y",
      { form: "absolute", scheme: "http", authority: "b.example", path: "/x", query: "?y" },
    ],
    [
      "GET",
      "HTTP://b.example:81",
      { form: "absolute", scheme: "http", authority: "b.example:81", path: "/", query: "" },
    ],
    [
      "GET",
      "https://b.example?y/z",
      { form: "absolute", scheme: "https", authority: "b.example", path: "/", query: "?y/z" },
    ],
    ["OPTIONS", "http://b.example", { form: "absolute", authority: "b.example", path: "*", query: "" }],
    ["OPTIONS", "http://b.example/", { form: "absolute", path: "/" }],
    ["OPTIONS", "http://b.example?", { form: "absolute", path: "/", query: "?" }],
  ])("%s %s is taken apart", (method, text, expected) => {
    const { head } = readOne(target(text, method));
    expect(head).toMatchObject({ method, target: text, ...expected });
    expect(head.fields).toEqual({ raw: ["Host", head.authority], lower: ["host"] });
  });

  test("the authority of an absolute-form stands in for a missing Host of HTTP/1.0", () => {
    const { head } = readOne("GET http://b.example/ HTTP/1.0\r\nX: y\r\n\r\n");
    expect(head.authority).toBe("b.example");
    expect(head.fields).toEqual({ raw: ["X", "y", "Host", "b.example"], lower: ["x", "host"] });
  });

  refuses([
    ["* with GET", target("*"), "E_HTTP_TARGET", 400],
    ["* with more behind it", target("*/x", "OPTIONS"), "E_HTTP_TARGET", 400],
    ["a fragment", target("/a#b"), "E_HTTP_TARGET", 400],
    ["a control character", target("/a\x01b"), "E_HTTP_TARGET", 400],
    ["DEL", target("/a\x7fb"), "E_HTTP_TARGET", 400],
    ["NUL", target("/a\0b"), "E_HTTP_TARGET", 400],
    ["a byte that is not ASCII", target("/a\xe9"), "E_HTTP_TARGET", 400],
    ["a path without its slash", target("a/b"), "E_HTTP_TARGET", 400],
    ["authority-form outside CONNECT", target("b.example:443"), "E_HTTP_TARGET", 400],
    ["an unknown scheme", target("ftp://b.example/"), "E_HTTP_TARGET", 400],
    ["a scheme without slashes", target("http:b.example"), "E_HTTP_TARGET", 400],
    ["an absolute-form without authority", target("http:///x"), "E_HTTP_TARGET", 400],
    ["userinfo in an absolute-form", target("http://u@b.example/"), "E_HTTP_TARGET", 400],
    ["a backslash in an authority", target("http://b.example\\@c.example/"), "E_HTTP_TARGET", 400],
    ["a wrong port in an absolute-form", target("http://b.example:65536/"), "E_HTTP_TARGET", 400],
    ["CONNECT without a port", target("b.example", "CONNECT"), "E_HTTP_TARGET", 400],
    ["CONNECT with a path", target("/x", "CONNECT"), "E_HTTP_TARGET", 400],
    ["CONNECT with a URL", target("http://b.example:80/", "CONNECT"), "E_HTTP_TARGET", 400],
    ["CONNECT with userinfo", target("u@b.example:443", "CONNECT"), "E_HTTP_TARGET", 400],
  ]);
});

describe("Host", () => {
  test.each([
    "a",
    "A.Example",
    "a_b-c.d",
    "a.example.",
    "127.0.0.1",
    "a:80",
    "a:0",
    "a:65535",
    "[::1]",
    "[::1]:8080",
    "[::ffff:1.2.3.4]",
  ])("%s is accepted", (value) => {
    expect(readOne(host(` ${value} `)).head.authority).toBe(value);
  });

  const bad = [
    "",
    " ",
    " a,b",
    " a, a",
    " u@a",
    " u:p@a",
    " a/b",
    " a/",
    " a?b",
    " a#b",
    " a b",
    " a:",
    " a:b",
    " a:65536",
    " a:000080",
    " a:+80",
    " a:80:80",
    " :80",
    " [::1",
    " ::1",
    " [::1]x",
    " [a]",
    " []",
    " [::1%25eth0]",
    " [v1.x]",
    " a%2eb",
    " a\\b",
    " a\xe9",
    " http://a",
    " *",
    " (a)",
  ];
  test.each(bad)("refuses %j", (value) => {
    expect(read(host(value)).violation).toEqual({ code: "E_HTTP_HOST", status: 400 });
    expect(read(host(value).replace("HTTP/1.1", "HTTP/1.0")).violation).toEqual({ code: "E_HTTP_HOST", status: 400 });
  });

  refuses([
    ["none in HTTP/1.1", "GET / HTTP/1.1\r\n\r\n", "E_HTTP_HOST", 400],
    ["none beside an absolute-form", "GET http://a/ HTTP/1.1\r\n\r\n", "E_HTTP_HOST", 400],
    ["none with CONNECT", "CONNECT a:443 HTTP/1.1\r\n\r\n", "E_HTTP_HOST", 400],
    ["two", get("Host: b.example\r\n"), "E_HTTP_HOST", 400],
    ["two equal ones in different case", get("hOST: a.example\r\n"), "E_HTTP_HOST", 400],
    ["two in HTTP/1.0", `GET / HTTP/1.0\r\n${HOST}${HOST}\r\n`, "E_HTTP_HOST", 400],
    ["a bad one beside an absolute-form", "GET http://a/ HTTP/1.1\r\nHost: b,c\r\n\r\n", "E_HTTP_HOST", 400],
  ]);

  test("may be missing in HTTP/1.0", () => {
    expect(readOne("GET / HTTP/1.0\r\n\r\n").head).toMatchObject({
      authority: "",
      minor: 0,
      fields: { raw: [], lower: [] },
    });
  });
});

describe("header fields", () => {
  test("keep order, case and repetition; values lose white space around them only", () => {
    const { head } = readOne(
      get("x-a: 1\r\nX-A:2\r\nAccept:\t \r\nUSER-agent: \t a  b\tc \t\r\nX!#$%&'*+-.^_`|~9: \xe9\xff\r\n"),
    );
    expect(head.fields).toEqual({
      raw: [
        "Host",
        "a.example",
        "x-a",
        "1",
        "X-A",
        "2",
        "Accept",
        "",
        "USER-agent",
        "a  b\tc",
        "X!#$%&'*+-.^_`|~9",
        "\xe9\xff",
      ],
      lower: ["host", "x-a", "x-a", "accept", "user-agent", "x!#$%&'*+-.^_`|~9"],
    });
  });

  refuses([
    ["a bare LF as line end", get("A: b\nC: d\r\n"), "E_HTTP_LINE_END", 400],
    ["a bare CR as line end", get("A: b\rC: d\r\n"), "E_HTTP_LINE_END", 400],
    ["CR CR LF", get("A: b\r\r\n"), "E_HTTP_LINE_END", 400],
    ["a bare LF as the empty line", `GET / HTTP/1.1\r\n${HOST}\n`, "E_HTTP_LINE_END", 400],
    ["bare LFs throughout", "GET / HTTP/1.1\nHost: a\n\n", "E_HTTP_LINE_END", 400],
    ["a CR in the empty line", `GET / HTTP/1.1\r\n${HOST}\r\r\n`, "E_HTTP_LINE_END", 400],
    ["a folded line", get("A: b\r\n c\r\n"), "E_HTTP_LINE_FOLD", 400],
    ["a line folded with a tab", get("A: b\r\n\tc: d\r\n"), "E_HTTP_LINE_FOLD", 400],
    ["white space before the first name", `GET / HTTP/1.1\r\n ${HOST}\r\n`, "E_HTTP_LINE_FOLD", 400],
    ["a line of white space", get(" \r\n"), "E_HTTP_LINE_FOLD", 400],
    ["a space before the colon", get("A : b\r\n"), "E_HTTP_FIELD_NAME", 400],
    ["a tab before the colon", get("Content-Length\t: 5\r\n"), "E_HTTP_FIELD_NAME", 400],
    ["an empty name", get(": b\r\n"), "E_HTTP_FIELD_NAME", 400],
    ["a line without colon", get("abc\r\n"), "E_HTTP_FIELD_NAME", 400],
    ["a name in brackets", get("(a): b\r\n"), "E_HTTP_FIELD_NAME", 400],
    ["a name that is not ASCII", get("\xe9: b\r\n"), "E_HTTP_FIELD_NAME", 400],
    ["a NUL in a name", get("A\0: b\r\n"), "E_HTTP_FIELD_NAME", 400],
    ["a pseudo-header", get(":path: /\r\n"), "E_HTTP_FIELD_NAME", 400],
    ["an imitated Content-Length", get("Content_Length: 5\r\n"), "E_HTTP_FIELD_NAME", 400],
    ["an imitated Transfer-Encoding", get("transfer_ENCODING: chunked\r\n"), "E_HTTP_FIELD_NAME", 400],
    ["a NUL in a value", get("A: b\0\r\n"), "E_HTTP_FIELD_VALUE", 400],
    ["a vertical tab in a value", get("A: \x0bb\r\n"), "E_HTTP_FIELD_VALUE", 400],
    ["an escape in a value", get("A: b\x1b[0m\r\n"), "E_HTTP_FIELD_VALUE", 400],
    ["DEL in a value", get("A: b\x7f\r\n"), "E_HTTP_FIELD_VALUE", 400],
  ]);

  test("says nothing of a value in its errors", () => {
    const decoder = createRequestDecoder(usualLimits, { onHead() {}, onData() {}, onEnd() {} });
    const result = decoder.push(Buffer.from(get("Authorization: Bearer s3cret\x01\r\n")), 0);
    if (typeof result === "number") throw new Error("was accepted");
    expect(`${result.error.message} ${result.error.stack}`).not.toContain("s3cret");
  });
});

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

describe("limits", () => {
  const line = "GET / HTTP/1.1\r\n";
  const headOf = (bytes: number): string => {
    const rest = `${line}${HOST}X: \r\n\r\n`;
    return `${line}${HOST}X: ${"v".repeat(bytes - rest.length)}\r\n\r\n`;
  };

  test("a head may have headBytes, and not one more", () => {
    const limits = { ...usualLimits, headBytes: 300 };
    expect(read(headOf(300), limits).violation).toBeUndefined();
    expect(read(headOf(301), limits).violation).toEqual({ code: "E_HTTP_HEAD_TOO_LARGE", status: 431 });
    expect(read(`${headOf(300)}${"x".repeat(500)}`, limits).messages).toHaveLength(1);
  });

  test("a head without end is refused when it passes headBytes, with no more than that kept", () => {
    const limits = { ...usualLimits, headBytes: 300 };
    expect(read(`${line}X: ${"v".repeat(1000)}`, limits).violation).toEqual({
      code: "E_HTTP_HEAD_TOO_LARGE",
      status: 431,
    });
  });

  test("a broken line that passes headBytes is too large, however it is cut", () => {
    const limits = { ...usualLimits, headBytes: 60 };
    expect(read(get(`Bad Name: ${"v".repeat(60)}\r\n`), limits).violation?.code).toBe("E_HTTP_HEAD_TOO_LARGE");
    const goodThenBad = get(`X: ${"v".repeat(60)}\r\nBad Name: v\r\n`);
    expect(read(goodThenBad, limits).violation?.code).toBe("E_HTTP_HEAD_TOO_LARGE");
    expect(read(get("Bad Name: v\r\n"), limits).violation?.code).toBe("E_HTTP_FIELD_NAME");
  });

  test("a request line may have requestLine bytes, and not one more", () => {
    const limits = { ...usualLimits, requestLine: 40 };
    const request = (bytes: number): string => `GET /${"p".repeat(bytes - 14)} HTTP/1.1\r\n${HOST}\r\n`;
    expect(read(request(40), limits).violation).toBeUndefined();
    expect(read(request(41), limits).violation).toEqual({ code: "E_HTTP_REQUEST_LINE_TOO_LONG", status: 414 });
    expect(read("G".repeat(200), limits).violation).toEqual({ code: "E_HTTP_REQUEST_LINE_TOO_LONG", status: 414 });
  });

  test("a head may have headFields fields, and not one more", () => {
    const limits = { ...usualLimits, headFields: 4 };
    expect(read(get("a: b\r\n".repeat(3)), limits).violation).toBeUndefined();
    expect(read(get("a: b\r\n".repeat(4)), limits).violation).toEqual({ code: "E_HTTP_TOO_MANY_FIELDS", status: 431 });
  });
});

describe("Expect", () => {
  test.each(["100-continue", "100-Continue"])("%s is passed on", (value) => {
    expect(readOne(post(`Expect: ${value}\r\nContent-Length: 1\r\n`, "x")).head.expectContinue).toBe(true);
  });

  test("100-continue in HTTP/1.0 is nothing to wait for", () => {
    expect(readOne("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx").head.expectContinue).toBe(
      false,
    );
  });

  test.each(["", "200-ok", "100-continue, x", "100-continue;x", "100-continue\r\nExpect: 100-continue"])(
    "refuses %j",
    (value) => {
      expect(read(post(`Expect: ${value}\r\nContent-Length: 1\r\n`, "x")).violation).toEqual({
        code: "E_HTTP_EXPECT",
        status: 417,
      });
    },
  );
});

describe("Connection", () => {
  /** version, Connection values → keepAlive, names. */
  test.each<[string, readonly string[], boolean, readonly string[]]>([
    ["1.1", [], true, []],
    ["1.1", ["keep-alive"], true, []],
    ["1.1", ["close"], false, []],
    ["1.1", ["Close"], false, []],
    ["1.1", ["keep-alive, close"], false, []],
    ["1.1", ["keep-alive", "CLOSE"], false, []],
    ["1.0", [], false, []],
    ["1.0", ["Keep-Alive"], true, []],
    ["1.0", ["keep-alive, close"], false, []],
    ["1.1", [""], true, []],
    ["1.1", ["X-Hop,\tFoo , ,keep-alive"], true, ["x-hop", "foo"]],
    ["1.1", ["a, b", "B, c"], true, ["a", "b", "c"]],
    ["1.1", ["Upgrade, HTTP2-Settings"], true, ["http2-settings"]],
    ["1.1", ["x-forwarded-client-cert"], true, ["x-forwarded-client-cert"]],
    ["1.1", ["Host, Content-Length, Transfer-Encoding, Authorization, Cookie, TE, x"], true, ["x"]],
  ])("of HTTP/%s with %j means keep-alive %s and names %j", (version, values, keepAlive, names) => {
    const lines = values.map((value) => `Connection: ${value}\r\n`).join("");
    const { head } = readOne(`GET / HTTP/${version}\r\n${HOST}${lines}\r\n`);
    expect(head.keepAlive).toBe(keepAlive);
    expect(head.connectionNames).toEqual(names);
  });

  test.each(["close;x", "a b", "a:", '"close"', "\xe9"])("refuses %j", (value) => {
    expect(read(get(`Connection: ${value}\r\n`)).violation).toEqual({ code: "E_HTTP_CONNECTION", status: 400 });
  });
});

describe("Upgrade", () => {
  const upgrade = (lines: string, version = "1.1"): string => `GET / HTTP/${version}\r\n${HOST}${lines}\r\n`;
  test.each<[string, string, string | undefined]>([
    ["one token", upgrade("Connection: Upgrade\r\nUpgrade: WebSocket\r\n"), "websocket"],
    ["one token among other options", upgrade("Connection: keep-alive, upgrade\r\nUpgrade: foo/1.0\r\n"), "foo/1.0"],
    ["no Connection", upgrade("Upgrade: websocket\r\n"), undefined],
    ["no Upgrade", upgrade("Connection: upgrade\r\n"), undefined],
    ["a list", upgrade("Connection: upgrade\r\nUpgrade: websocket, foo\r\n"), undefined],
    ["two fields", upgrade("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n"), undefined],
    ["h2c", upgrade("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"), undefined],
    ["HTTP/2.0", upgrade("Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n"), undefined],
    ["TLS", upgrade("Connection: upgrade\r\nUpgrade: TLS/1.2\r\n"), undefined],
    ["HTTP/1.0", upgrade("Connection: upgrade\r\nUpgrade: websocket\r\n", "1.0"), undefined],
    ["a body", post("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n", "x"), undefined],
    ["an empty body", post("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n"), "websocket"],
  ])("with %s: %#", (_, text, expected) => {
    expect(readOne(text).head.upgrade).toBe(expected);
  });
});

describe("boundaries", () => {
  test("a push ends with its message, so that a pipelined request waits", () => {
    const first = post("Content-Length: 2\r\n", "hi");
    const bytes = Buffer.from(first + get(""));
    const heads: string[] = [];
    const decoder = createRequestDecoder(usualLimits, {
      onHead: (head) => void heads.push(head.method),
      onData() {},
      onEnd() {},
    });
    expect(decoder.atBoundary).toBe(true);
    expect(decoder.push(bytes, 0)).toBe(first.length);
    expect(heads).toEqual(["POST"]);
    expect(decoder.atBoundary).toBe(true);
    expect(decoder.push(bytes, first.length)).toBe(bytes.length);
    expect(heads).toEqual(["POST", "GET"]);
    expect(decoder.push(bytes, bytes.length)).toBe(bytes.length);
    expect(decoder.end()).toBeUndefined();
  });

  test("pipelined requests come in order, each with its own body", () => {
    const stream =
      post("Content-Length: 3\r\n", "one") +
      chunked("3\r\ntwo\r\n0\r\nX: y\r\n\r\n") +
      get("") +
      `\r\n${post("Content-Length: 4\r\n", "four")}`;
    const { messages, violation } = read(stream);
    expect(violation).toBeUndefined();
    expect(messages.map(({ body }) => body)).toEqual(["one", "two", "", "four"]);
    expect(messages.map(({ trailers }) => trailers)).toEqual([undefined, ["X", "y"], undefined, undefined]);
  });

  test("each request may have an empty line before it", () => {
    const { messages, violation } = read(`\r\n${get("")}\r\n${get("")}\r\n`);
    expect(violation).toBeUndefined();
    expect(messages).toHaveLength(2);
  });

  test("a message before a broken one is complete", () => {
    const { messages, violation } = read(`${get("")}GET / HTTP/1.1\r\nBad Name: x\r\n\r\n`);
    expect(messages.map((message) => message.isComplete)).toEqual([true]);
    expect(violation?.code).toBe("E_HTTP_FIELD_NAME");
  });

  refuses([
    ["an end in the request line", "GET / HT", "E_HTTP_INCOMPLETE", 400],
    ["an end in the fields", `GET / HTTP/1.1\r\n${HOST}`, "E_HTTP_INCOMPLETE", 400],
    ["an end in a body", post("Content-Length: 5\r\n", "hell"), "E_HTTP_INCOMPLETE", 400],
    ["an end after a CR", "\r", "E_HTTP_INCOMPLETE", 400],
  ]);

  test("reads plain Uint8Arrays, also within a larger buffer", () => {
    const text = `xx${get("")}`;
    const whole = new Uint8Array(Buffer.from(text));
    const heads: RequestHead[] = [];
    const decoder = createRequestDecoder(usualLimits, {
      onHead: (head) => void heads.push(head),
      onData() {},
      onEnd() {},
    });
    expect(decoder.push(whole.subarray(2), 0)).toBe(text.length - 2);
    expect(heads[0]?.authority).toBe("a.example");
  });
});
