import { describe, expect, test } from "vitest";
import { HeadLines } from "./head-lines.ts";
import { HeadReader } from "./head-reader.ts";
import type { BodyFraming } from "./http1-events.ts";
import { OutputBuffer } from "./output-buffer.ts";
import {
  type WrittenRequest,
  type WrittenResponse,
  writeChunk,
  writeLastChunk,
  writeRequestHead,
  writeResponseHead,
} from "./write-head.ts";

const REQUEST: WrittenRequest = {
  method: "GET",
  target: "/",
  fields: ["Host", "a"],
  framing: { kind: "none" },
  upgrade: undefined,
};
const RESPONSE: WrittenResponse = {
  status: 200,
  reason: "OK",
  fields: ["X", "y"],
  framing: { kind: "length", length: 2 },
  close: false,
  upgrade: undefined,
};
const HOP_FIELDS = [
  "Connection",
  "keep-alive, x",
  "Keep-Alive",
  "timeout=5",
  "PROXY-CONNECTION",
  "keep-alive",
  "Upgrade",
  "h2c",
  "HTTP2-Settings",
  "AAMA",
  "content-length",
  "99",
  "Transfer-encoding",
  "gzip",
  "TE",
  "gzip",
];

function request(change: Partial<WrittenRequest>): string {
  const out = new OutputBuffer();
  writeRequestHead(out, { ...REQUEST, ...change });
  return out.take().toString("latin1");
}

function response(change: Partial<WrittenResponse>): string {
  const out = new OutputBuffer();
  writeResponseHead(out, { ...RESPONSE, ...change });
  return out.take().toString("latin1");
}

describe("a request head", () => {
  test.each<[string, Partial<WrittenRequest>, string]>([
    ["is written as given", {}, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"],
    [
      "keeps order and repetition",
      { fields: ["b", "1", "A", "\xe9", "b", ""] },
      "GET / HTTP/1.1\r\nb: 1\r\nA: \xe9\r\nb: \r\n\r\n",
    ],
    [
      "has its own length",
      { framing: { kind: "length", length: 5 } },
      "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
    ],
    [
      "has a length of zero",
      { framing: { kind: "length", length: 0 } },
      "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    ],
    [
      "has its own coding",
      { framing: { kind: "chunked" } },
      "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ["takes no hop-by-hop field along", { fields: HOP_FIELDS }, "GET / HTTP/1.1\r\n\r\n"],
    [
      "takes `TE: trailers` along",
      { fields: ["te", "trailers"] },
      "GET / HTTP/1.1\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
    ],
    [
      "takes of TE only trailers",
      { fields: ["TE", "gzip;q=0.5,\tTrailers"] },
      "GET / HTTP/1.1\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
    ],
    [
      "asks for an upgrade",
      { upgrade: "websocket", fields: ["Connection", "upgrade", "Upgrade", "foo"] },
      "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
    ["asks to close", { close: true, fields: [] }, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n"],
    [
      "passes names like hop-by-hop ones",
      { fields: ["tf", "1", "upgrades", "2", "connections", "3"] },
      "GET / HTTP/1.1\r\ntf: 1\r\nupgrades: 2\r\nconnections: 3\r\n\r\n",
    ],
  ])("%s", (_, change, expected) => {
    expect(request(change)).toBe(expected);
  });

  test("can't be framed by the end of the connection", () => {
    expect(() => request({ framing: { kind: "close" } })).toThrow(TypeError);
  });

  test.each<[string, Partial<WrittenRequest>]>([
    ["a CR LF in a value", { fields: ["a", "b\r\nc: d"] }],
    ["a CR in a value", { fields: ["a", "b\rc"] }],
    ["a LF in a value", { fields: ["a", "b\nc"] }],
    ["a NUL in a value", { fields: ["a", "b\0c"] }],
    ["DEL in a value", { fields: ["a", "b\x7fc"] }],
    ["a character whose low byte is LF", { fields: ["a", "b\u010ac: d"] }],
    ["a CR LF in a name", { fields: ["a\r\nb", "c"] }],
    ["a CR LF in the target", { target: "/ HTTP/1.1\r\na:" }],
    ["a space in the target", { target: "/ x" }],
    ["a space in the method", { method: "GET /x" }],
    ["a CR LF in the method", { method: "A\r\nB" }],
    ["an empty target", { target: "" }],
    ["a CR LF in the upgrade", { upgrade: "a\r\nb: c" }],
  ])("with %s is a programming error that writes nothing", (_, change) => {
    const out = new OutputBuffer();
    out.latin1("before");
    expect(() => writeRequestHead(out, { ...REQUEST, ...change })).toThrow(TypeError);
    out.latin1(" after");
    expect(out.take().toString("latin1")).toBe("before after");
  });
});

describe("a response head", () => {
  const close: BodyFraming = { kind: "close" };
  const none: BodyFraming = { kind: "none" };
  test.each<[string, Partial<WrittenResponse>, string]>([
    ["is written as given", {}, "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 2\r\n\r\n"],
    ["may have no reason", { reason: "" }, "HTTP/1.1 200 \r\nX: y\r\nContent-Length: 2\r\n\r\n"],
    [
      "has its own coding",
      { framing: { kind: "chunked" } },
      "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    [
      "says that it ends with the connection",
      { framing: close },
      "HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\n",
    ],
    ["says close", { close: true, fields: [] }, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"],
    [
      "says keep-alive when told to",
      { keepAlive: true, fields: [] },
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n",
    ],
    [
      "says close rather than keep-alive",
      { keepAlive: true, framing: close, fields: [] },
      "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    ],
    ["takes no hop-by-hop field along", { fields: HOP_FIELDS }, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"],
    [
      "announces the length that HEAD asks for",
      { framing: none, declaredLength: 7 },
      "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 7\r\n\r\n",
    ],
    [
      "announces no length with 204",
      { status: 204, framing: none, declaredLength: 7 },
      "HTTP/1.1 204 OK\r\nX: y\r\n\r\n",
    ],
    [
      "announces no length with 1xx",
      { status: 103, framing: none, declaredLength: 7 },
      "HTTP/1.1 103 OK\r\nX: y\r\n\r\n",
    ],
    [
      "switches protocols",
      { status: 101, framing: none, upgrade: "websocket", fields: ["Upgrade", "foo", "Sec-WebSocket-Accept", "z"] },
      "HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: z\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
  ])("%s", (_, change, expected) => {
    expect(response(change)).toBe(expected);
  });

  test.each<[string, Partial<WrittenResponse>]>([
    ["a CR LF in the reason", { reason: "OK\r\nSet-Cookie: a" }],
    ["a CR LF in a value", { fields: ["a", "\r\n\r\nbody"] }],
    ["a NUL in a name", { fields: ["a\0", "b"] }],
    ["a status of two digits", { status: 99 }],
    ["a status of four digits", { status: 1000 }],
    ["no status", { status: Number.NaN }],
    ["a status between two", { status: 200.5 }],
  ])("with %s is a programming error that writes nothing", (_, change) => {
    const out = new OutputBuffer();
    expect(() => writeResponseHead(out, { ...RESPONSE, ...change })).toThrow(TypeError);
    expect(out.length).toBe(0);
  });
});

test.each(["b\r\nC: d", "b\n", "\0"])(
  "a line of ours with %j behind copied ones is a programming error that writes nothing",
  (value) => {
    const reader = new HeadReader({ headBytes: 100, headFields: 9, requestLine: 9 }, undefined);
    reader.read(Buffer.from("A: b\r\nC: d\r\n\r\n"), 0);
    const lines = new HeadLines(reader.takeFields());
    lines.keep(0);
    lines.keep(1);
    lines.add("x", value);
    expect(lines.checked).toBe("A: b\r\nC: d\r\n".length);
    const out = new OutputBuffer();
    expect(() => writeRequestHead(out, { ...REQUEST, lines })).toThrow(TypeError);
    expect(() => writeResponseHead(out, { ...RESPONSE, lines })).toThrow(TypeError);
    expect(out.length).toBe(0);
  },
);

describe("a chunked body", () => {
  test("is chunks with their size in hexadecimal, then the last one", () => {
    const out = new OutputBuffer();
    writeChunk(out, Buffer.from("hello"));
    writeChunk(out, Buffer.alloc(0));
    writeChunk(out, Buffer.from("x".repeat(26)));
    writeLastChunk(out, undefined);
    expect(out.take().toString("latin1")).toBe(`5\r\nhello\r\n1a\r\n${"x".repeat(26)}\r\n0\r\n\r\n`);
  });

  test("ends with its trailers, but for framing fields", () => {
    const out = new OutputBuffer();
    writeLastChunk(out, { raw: ["A", "b", "Content-Length", "5", "c", ""], lower: ["a", "content-length", "c"] });
    expect(out.take().toString("latin1")).toBe("0\r\nA: b\r\nc: \r\n\r\n");
  });

  test("refuses a line end in a trailer", () => {
    const out = new OutputBuffer();
    expect(() => writeLastChunk(out, { raw: ["A", "b\r\n\r\nGET /"], lower: ["a"] })).toThrow(TypeError);
    expect(out.length).toBe(0);
  });
});
