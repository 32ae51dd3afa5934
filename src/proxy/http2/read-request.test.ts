import { describe, expect, test } from "vitest";
import { fieldsOf, type Pairs } from "../../../test/support/hpack-literals.ts";
import { usualLimits } from "../../../test/support/http1-transcript.ts";
import type { RequestHead } from "../http1/http1-events.ts";
import type { Http2Fault } from "./http2-fault.ts";
import { readRequest } from "./read-request.ts";

const GET: Pairs = [
  [":method", "GET"],
  [":scheme", "https"],
  [":authority", "a.example"],
  [":path", "/"],
];
const WEBSOCKET: Pairs = [
  [":method", "CONNECT"],
  [":protocol", "websocket"],
  [":scheme", "https"],
  [":authority", "a.example"],
  [":path", "/chat?x"],
];

/** `base` with these pseudo-headers changed, or left out where undefined, and fields behind. */
function request(changes: Readonly<Record<string, string | undefined>>, fields: Pairs = [], base: Pairs = GET): Pairs {
  const left = new Map(Object.entries(changes));
  const pseudo: [string, string][] = [];
  for (const [name, value] of base) {
    const changed = left.has(name) ? left.get(name) : value;
    if (changed !== undefined) pseudo.push([name, changed]);
    left.delete(name);
  }
  for (const [name, value] of left) if (value !== undefined) pseudo.push([name, value]);
  return [...pseudo, ...fields];
}

function read(pairs: Pairs, endStream = true, limits = usualLimits): RequestHead | Http2Fault {
  const fields = fieldsOf(pairs);
  return readRequest(fields, fields.length, endStream, limits);
}

function accepted(pairs: Pairs, endStream = true, limits = usualLimits): RequestHead {
  const head = read(pairs, endStream, limits);
  if ("code" in head) throw new Error(head.detail);
  return head;
}

function refused(pairs: Pairs, endStream = true, limits = usualLimits): string {
  const fault = read(pairs, endStream, limits);
  if (!("code" in fault)) throw new Error("was accepted");
  return fault.code;
}

test("a request's head is all there, Host first", () => {
  expect(
    accepted(
      request({ ":path": "/a?b" }, [
        ["user-agent", "x"],
        ["x-a", "1"],
        ["x-a", ""],
      ]),
    ),
  ).toEqual({
    version: 2,
    method: "GET",
    target: "/a?b",
    form: "origin",
    scheme: "",
    sentScheme: "https",
    authority: "a.example",
    path: "/a",
    query: "?b",
    minor: 1,
    fields: {
      raw: ["host", "a.example", "user-agent", "x", "x-a", "1", "x-a", ""],
      lower: ["host", "user-agent", "x-a", "x-a"],
    },
    framing: { kind: "none" },
    keepAlive: true,
    expectContinue: false,
    upgrade: undefined,
    connectionNames: [],
  });
});

test("fields behind the count belong to an earlier block", () => {
  const fields = fieldsOf([...GET, ["connection", "close"]]);
  const head = readRequest(fields, 4, true, usualLimits);
  expect(head).toMatchObject({ fields: { raw: ["host", "a.example"] } });
});

describe("pseudo-headers", () => {
  test("come in any order", () => {
    expect(accepted(GET.toReversed())).toEqual(accepted(GET));
  });

  test.each<[string, Pairs, string]>([
    ["no fields at all", [], "E_HTTP2_HEAD"],
    ["no :method", request({ ":method": undefined }), "E_HTTP2_HEAD"],
    ["an empty :method", request({ ":method": "" }), "E_HTTP2_HEAD"],
    ["a :method that is no token", request({ ":method": "GE T" }), "E_HTTP2_HEAD"],
    ["a :method with a second request in it", request({ ":method": "GET / HTTP/1.1" }), "E_HTTP2_HEAD"],
    ["a standard :method in another case", request({ ":method": "get" }), "E_HTTP_METHOD_CASE"],
    ["no :scheme", request({ ":scheme": undefined }), "E_HTTP2_HEAD"],
    ["an empty :scheme", request({ ":scheme": "" }), "E_HTTP2_HEAD"],
    ["a :scheme that is not HTTP's", request({ ":scheme": "ftp" }), "E_HTTP2_HEAD"],
    ["a :scheme in upper case", request({ ":scheme": "HTTPS" }), "E_HTTP2_HEAD"],
    ["a :scheme with an authority in it", request({ ":scheme": "http://a/?" }), "E_HTTP2_HEAD"],
    ["no :path", request({ ":path": undefined }), "E_HTTP_TARGET"],
    ["an empty :path", request({ ":path": "" }), "E_HTTP_TARGET"],
    ["two of :method", [...GET, [":method", "GET"]], "E_HTTP2_HEAD"],
    ["two of :scheme", [...GET, [":scheme", "https"]], "E_HTTP2_HEAD"],
    ["two of :path", [...GET, [":path", "/"]], "E_HTTP2_HEAD"],
    ["two of :authority", [...GET, [":authority", "a.example"]], "E_HTTP2_HEAD"],
    ["two of :protocol", [...WEBSOCKET, [":protocol", "websocket"]], "E_HTTP2_HEAD"],
    ["a :status", [...GET, [":status", "200"]], "E_HTTP2_HEAD"],
    ["one nobody knows", [...GET, [":x", "1"]], "E_HTTP2_HEAD"],
    ["one behind a field", [...GET.slice(1), ["x-a", "1"], [":method", "GET"]], "E_HTTP2_HEAD"],
    ["a second one behind a field", [...GET, ["x-a", "1"], [":path", "/"]], "E_HTTP2_HEAD"],
    ["a :status behind a field", [...GET, ["x-a", "1"], [":status", "200"]], "E_HTTP2_HEAD"],
    ["one in upper case", request({ ":path": undefined }, [[":Path", "/"]]), "E_HTTP_FIELD_NAME"],
    ["a line end in one", request({ ":path": "/\r\nx: y" }), "E_HTTP_FIELD_VALUE"],
    ["white space around one", request({ ":path": " /" }), "E_HTTP_FIELD_VALUE"],
  ])("are refused with %s", (_name, pairs, code) => {
    expect(refused(pairs)).toBe(code);
  });

  test("a method of any case passes when that is switched off, and one nobody knows always", () => {
    expect(accepted(request({ ":method": "get" }), true, { ...usualLimits, refuseMethodCase: false }).method).toBe(
      "get",
    );
    expect(accepted(request({ ":method": "M-SEARCH" })).method).toBe("M-SEARCH");
  });
});

describe("the path", () => {
  test.each<[string, string, string]>([
    ["/", "/", ""],
    ["/a/b?c=d?e", "/a/b", "?c=d?e"],
    ["/?", "/", "?"],
    ["//a", "//a", ""],
    ["/*", "/*", ""],
    ['/a|b{c}"<>^`\\;@:%00', '/a|b{c}"<>^`\\;@:%00', ""],
  ])("%s is %s with the query %j", (target, path, query) => {
    expect(accepted(request({ ":path": target }))).toMatchObject({ target, form: "origin", path, query });
  });

  test("* is the server's as a whole, for OPTIONS alone", () => {
    expect(accepted(request({ ":method": "OPTIONS", ":path": "*" }))).toMatchObject({
      form: "asterisk",
      target: "*",
      path: "*",
      query: "",
    });
    expect(refused(request({ ":path": "*" }))).toBe("E_HTTP_TARGET");
    expect(refused(request({ ":method": "OPTIONS", ":path": "**" }))).toBe("E_HTTP_TARGET");
  });

  test.each([
    "a",
    "http://b.example/",
    "a.example:80",
    "?a",
    "/a#b",
    "/a b",
    "/a\tb",
    "/\xe9",
    "/\xff?",
    "/a?b#c",
    "/a HTTP/1.1",
  ])("must not be %j", (path) => {
    expect(refused(request({ ":path": path }))).toBe("E_HTTP_TARGET");
  });

  test.each([0, 1])("may be as long as a request line with it, and not %i longer", (more) => {
    // GET, two spaces and HTTP/1.1
    const pairs = request({ ":path": "/".padEnd(usualLimits.requestLine - 13 + more, "a") });
    if (more === 0) expect(accepted(pairs).method).toBe("GET");
    else expect(refused(pairs)).toBe("E_HTTP_REQUEST_LINE_TOO_LONG");
  });
});

describe("the authority", () => {
  test.each(["a.example", "a.example:8080", "127.0.0.1", "[::1]:80"])("may be %s", (authority) => {
    const head = accepted(request({ ":authority": authority }));
    expect(head).toMatchObject({ authority, fields: { raw: ["host", authority], lower: ["host"] } });
  });

  test("may be Host's alone, whose place is then the first", () => {
    expect(
      accepted(
        request({ ":authority": undefined }, [
          ["x-a", "1"],
          ["host", "b.example"],
        ]),
      ),
    ).toMatchObject({
      authority: "b.example",
      fields: { raw: ["host", "b.example", "x-a", "1"], lower: ["host", "x-a"] },
    });
  });

  test.each(["a.example", "A.EXAMPLE"])("may be there twice, the same in any case: %s", (host) => {
    expect(accepted([...GET, ["host", host]]).fields).toEqual({ raw: ["host", "a.example"], lower: ["host"] });
  });

  test.each<[string, Pairs]>([
    ["neither :authority nor host", request({ ":authority": undefined })],
    ["an empty :authority", request({ ":authority": "" })],
    ["an empty host", request({ ":authority": undefined }, [["host", ""]])],
    ["an empty host beside :authority", [...GET, ["host", ""]]],
    ["another host", [...GET, ["host", "b.example"]]],
    ["another port", [...GET, ["host", "a.example:443"]]],
    [
      "two hosts",
      request({ ":authority": undefined }, [
        ["host", "a.example"],
        ["host", "a.example"],
      ]),
    ],
    ["two hosts beside :authority", [...GET, ["host", "a.example"], ["host", "a.example"]]],
    ["a user name", request({ ":authority": "u@a.example" })],
    ["a path", request({ ":authority": "a.example/x" })],
    ["a list", request({ ":authority": "a.example,b.example" })],
    ["a space", request({ ":authority": "a.example b" })],
    ["a port that is none", request({ ":authority": "a.example:http" })],
  ])("is refused with %s", (_name, pairs) => {
    expect(refused(pairs)).toBe("E_HTTP_HOST");
  });
});

describe("the fields of a request", () => {
  test("have one cookie for all its crumbs, where the first stood", () => {
    const crumbs: Pairs = [
      ["cookie", "a=1"],
      ["x-a", "1"],
      ["cookie", "b=2"],
      ["cookie", "c=3"],
    ];
    expect(accepted([...GET, ...crumbs]).fields).toEqual({
      raw: ["host", "a.example", "cookie", "a=1; b=2; c=3", "x-a", "1"],
      lower: ["host", "cookie", "x-a"],
    });
  });

  test("may hold te: trailers", () => {
    expect(accepted([...GET, ["te", "trailers"]]).fields.raw).toEqual(["host", "a.example", "te", "trailers"]);
  });

  test.each(["100-continue", "100-Continue"])("may hold expect: %s", (value) => {
    expect(accepted([...GET, ["expect", value]])).toMatchObject({ expectContinue: true });
  });

  test.each<[string, Pairs, string]>([
    ["connection", [["connection", "close"]], "E_HTTP2_HEAD"],
    ["keep-alive", [["keep-alive", "timeout=5"]], "E_HTTP2_HEAD"],
    ["proxy-connection", [["proxy-connection", "close"]], "E_HTTP2_HEAD"],
    ["transfer-encoding", [["transfer-encoding", "chunked"]], "E_HTTP2_HEAD"],
    ["upgrade", [["upgrade", "websocket"]], "E_HTTP2_HEAD"],
    ["http2-settings", [["http2-settings", "AAMAAABk"]], "E_HTTP2_HEAD"],
    ["te with a coding", [["te", "gzip"]], "E_HTTP2_HEAD"],
    ["te with more than trailers", [["te", "trailers, deflate"]], "E_HTTP2_HEAD"],
    ["an imitated content-length", [["content_length", "5"]], "E_HTTP_FIELD_NAME"],
    ["an imitated transfer-encoding", [["transfer_encoding", "chunked"]], "E_HTTP_FIELD_NAME"],
    ["a name in upper case", [["X-A", "1"]], "E_HTTP_FIELD_NAME"],
    ["a known name in upper case", [["Content-Length", "1"]], "E_HTTP_FIELD_NAME"],
    ["an empty name", [["", "1"]], "E_HTTP_FIELD_NAME"],
    ["a name with a line end", [["a\r\nb", "1"]], "E_HTTP_FIELD_NAME"],
    ["a name with a colon", [["a:b", "1"]], "E_HTTP_FIELD_NAME"],
    ["a name with a space", [["transfer-encoding ", "chunked"]], "E_HTTP_FIELD_NAME"],
    ["a value with a line end", [["x-a", "b\r\ntransfer-encoding: chunked"]], "E_HTTP_FIELD_VALUE"],
    ["a value with a bare LF", [["x-a", "b\nc"]], "E_HTTP_FIELD_VALUE"],
    ["a value with NUL", [["x-a", "\0"]], "E_HTTP_FIELD_VALUE"],
    ["a value with a space before it", [["x-a", " b"]], "E_HTTP_FIELD_VALUE"],
    ["expect of something else", [["expect", "200-ok"]], "E_HTTP_EXPECT"],
    [
      "expect twice",
      [
        ["expect", "100-continue"],
        ["expect", "100-continue"],
      ],
      "E_HTTP_EXPECT",
    ],
  ])("are refused with %s", (_name, fields, code) => {
    expect(refused([...GET, ...fields])).toBe(code);
  });
});

describe("the framing of a request", () => {
  const post = (...fields: Pairs): Pairs => request({ ":method": "POST" }, fields);

  test.each<[string, Pairs, boolean, RequestHead["framing"]]>([
    ["nothing where the request ends", post(), true, { kind: "none" }],
    ["a length of 0 where the request ends", post(["content-length", "0"]), true, { kind: "length", length: 0 }],
    ["an unknown length", post(), false, { kind: "chunked" }],
    ["a known length", post(["content-length", "12"]), false, { kind: "length", length: 12 }],
    ["a length of 0 with a body to come", post(["content-length", "0"]), false, { kind: "length", length: 0 }],
    ["a GET with a body", GET, false, { kind: "chunked" }],
  ])("is %s", (_name, pairs, endStream, framing) => {
    expect(accepted(pairs, endStream).framing).toEqual(framing);
  });

  test.each<[string, Pairs, boolean]>([
    ["a length where the request ends", post(["content-length", "1"]), true],
    ["two lengths", post(["content-length", "1"], ["content-length", "2"]), false],
    ["two equal lengths", post(["content-length", "1"], ["content-length", "1"]), false],
    ["a list", post(["content-length", "1, 1"]), false],
    ["a sign", post(["content-length", "+1"]), false],
    ["no digits", post(["content-length", ""]), false],
    ["hexadecimal digits", post(["content-length", "0x1"]), false],
    ["a number above 2^53", post(["content-length", "9007199254740993"]), false],
  ])("is refused with %s", (_name, pairs, endStream) => {
    expect(refused(pairs, endStream)).toBe("E_HTTP_CONTENT_LENGTH");
  });
});

describe("CONNECT", () => {
  const CONNECT = request({
    ":method": "CONNECT",
    ":scheme": undefined,
    ":path": undefined,
    ":authority": "a.example:443",
  });

  test("names an authority and nothing else", () => {
    expect(accepted(CONNECT, false)).toMatchObject({
      method: "CONNECT",
      target: "a.example:443",
      form: "authority",
      authority: "a.example:443",
      path: "",
      query: "",
      framing: { kind: "none" },
      upgrade: undefined,
    });
  });

  test("for a protocol names what a request names, and has no body (RFC 8441)", () => {
    expect(accepted(WEBSOCKET, false)).toMatchObject({
      method: "CONNECT",
      target: "/chat?x",
      form: "origin",
      authority: "a.example",
      path: "/chat",
      query: "?x",
      framing: { kind: "none" },
      upgrade: "websocket",
    });
    expect(accepted(request({ ":protocol": "WebSocket" }, [], WEBSOCKET), false).upgrade).toBe("websocket");
  });

  test.each<[string, Pairs, string]>([
    ["a :scheme", request({ ":scheme": "https" }, [], CONNECT), "E_HTTP2_HEAD"],
    ["a :path", request({ ":path": "/" }, [], CONNECT), "E_HTTP2_HEAD"],
    ["both, without :protocol", request({ ":scheme": "https", ":path": "/" }, [], CONNECT), "E_HTTP2_HEAD"],
    ["no port", request({ ":authority": "a.example" }, [], CONNECT), "E_HTTP_HOST"],
    ["no authority", request({ ":authority": undefined }, [], CONNECT), "E_HTTP_HOST"],
    ["a length", [...CONNECT, ["content-length", "1"]], "E_HTTP_CONNECT_BODY"],
    ["a :protocol and no :scheme", request({ ":scheme": undefined }, [], WEBSOCKET), "E_HTTP2_HEAD"],
    ["a :protocol and no :path", request({ ":path": undefined }, [], WEBSOCKET), "E_HTTP2_HEAD"],
    ["a :protocol and neither", request({ ":protocol": "websocket" }, [], CONNECT), "E_HTTP2_HEAD"],
    ["a :protocol and no authority", request({ ":authority": undefined }, [], WEBSOCKET), "E_HTTP_HOST"],
    ["a :protocol and a length", [...WEBSOCKET, ["content-length", "1"]], "E_HTTP_CONNECT_BODY"],
    ["a :protocol and *", request({ ":path": "*" }, [], WEBSOCKET), "E_HTTP_TARGET"],
    ["an empty :protocol", request({ ":protocol": "" }, [], WEBSOCKET), "E_HTTP2_HEAD"],
    ["a list of protocols", request({ ":protocol": "websocket, x" }, [], WEBSOCKET), "E_HTTP2_HEAD"],
    ["another HTTP inside", request({ ":protocol": "h2c" }, [], WEBSOCKET), "E_HTTP2_HEAD"],
    ["a :protocol with another method", request({ ":protocol": "websocket" }), "E_HTTP2_HEAD"],
  ])("is refused with %s", (_name, pairs, code) => {
    expect(refused(pairs, false)).toBe(code);
  });
});
