import { describe, expect, test } from "vitest";
import { accepts, get, HOST, host, read, readOne, refuses, target } from "../../../test/support/http1-requests.ts";
import { usualLimits } from "../../../test/support/http1-transcript.ts";
import type { RequestHead } from "./http1-events.ts";

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
    " a:080",
    " a..",
    " a..b",
    " .a",
    " .",
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
      version: 1,
      authority: "",
      minor: 0,
      fields: { raw: [], lower: [] },
    });
  });
});
