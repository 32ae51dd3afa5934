import { describe, expect, test } from "vitest";
import { type AskedRequest, everyByte, readResponses, usualLimits } from "../../../test/support/http1-transcript.ts";
import type { ResponseHead } from "./http1-events.ts";
import { createResponseDecoder } from "./response-decoder.ts";

const GET: AskedRequest = { method: "GET", upgrade: undefined };
const HEAD: AskedRequest = { method: "HEAD", upgrade: undefined };
const CONNECT: AskedRequest = { method: "CONNECT", upgrade: undefined };
const WEBSOCKET: AskedRequest = { method: "GET", upgrade: "websocket" };

const ok = (lines: string, body = ""): string => `HTTP/1.1 200 OK\r\n${lines}\r\n${body}`;
const status = (line: string): string => `${line}\r\nContent-Length: 0\r\n\r\n`;

/** Reads a stream whole and byte by byte, which must not differ. */
function read(
  text: string,
  asked: readonly AskedRequest[] = [GET],
  limits = usualLimits,
): ReturnType<typeof readResponses> {
  const bytes = Buffer.from(text, "latin1");
  const whole = readResponses([bytes], asked, limits);
  expect(readResponses(everyByte(bytes), asked, limits)).toEqual(whole);
  return whole;
}

function readOne(text: string, asked: AskedRequest = GET): { head: ResponseHead; body: string; isComplete: boolean } {
  const { messages, violation } = read(text, [asked]);
  expect(violation).toBeUndefined();
  const [message] = messages;
  if (message === undefined || messages.length !== 1) throw new Error(`${messages.length} messages`);
  return message;
}

describe("the status line", () => {
  test.each<[string, number, string, 0 | 1]>([
    ["HTTP/1.1 200 OK", 200, "OK", 1],
    ["HTTP/1.0 404 Not Found", 404, "Not Found", 0],
    ["HTTP/1.1 200 ", 200, "", 1],
    ["HTTP/1.1 200", 200, "", 1],
    ["HTTP/1.1 299  two\tparts \xe9", 299, " two\tparts \xe9", 1],
    ["HTTP/1.1 999 x", 999, "x", 1],
  ])("%j is read", (line, code, reason, minor) => {
    expect(readOne(status(line)).head).toMatchObject({ version: 1, status: code, reason, minor });
  });

  test.each([
    "HTTP/1.1 099 x",
    "HTTP/1.1 20 OK",
    "HTTP/1.1 2000 OK",
    "HTTP/1.1 2x0 OK",
    "HTTP/1.1  200 OK",
    "HTTP/1.1\t200 OK",
    "HTTP/1.1 +20 OK",
    "HTTP/1.1 200\tOK",
    "HTTP/1.1 200 O\x01K",
    "HTTP/1.1 200 O\0K",
    "HTTP/1.1 200 O\rK",
    "HTTP/1.2 200 OK",
    "HTTP/2.0 200 OK",
    "HTTP/0.9 200 OK",
    "http/1.1 200 OK",
    "ICY 200 OK",
    "HTTP/1.1",
    "HTTP 200",
    "HTTP/11 200 OK",
    " HTTP/1.1 200 OK",
    "\r\nHTTP/1.1 200 OK",
    "HTTP/1.1 200 OK\r",
  ])("refuses %j", (line) => {
    expect(read(status(line)).violation).toEqual({ code: "E_HTTP_RESPONSE_HEAD", status: 502 });
  });
});

describe("header fields", () => {
  test("keep order, case and repetition", () => {
    expect(readOne(ok("Set-Cookie: a\r\nset-cookie:  b \r\nContent-Length: 0\r\n")).head.fields).toEqual({
      raw: ["Set-Cookie", "a", "set-cookie", "b", "Content-Length", "0"],
      lower: ["set-cookie", "set-cookie", "content-length"],
    });
  });

  test.each(["A : b", "A: b\n", " A: b", "A: \x01", "(: b", ": b", "Content_Length: 5", "Connection: a;b"])(
    "refuses %j",
    (line) => {
      expect(read(ok(`Content-Length: 0\r\n${line}\r\n`)).violation).toEqual({
        code: "E_HTTP_RESPONSE_HEAD",
        status: 502,
      });
    },
  );

  test("have the limits of a head", () => {
    const limits = { ...usualLimits, headBytes: 200, headFields: 3 };
    const broken = { code: "E_HTTP_RESPONSE_TOO_LARGE", status: 502 };
    expect(read(ok("a: b\r\na: b\r\nContent-Length: 0\r\n"), [GET], limits).violation).toBeUndefined();
    expect(read(ok("a: b\r\n".repeat(4)), [GET], limits).violation).toEqual(broken);
    expect(read(ok(`a: ${"b".repeat(200)}\r\n`), [GET], limits).violation).toEqual(broken);
  });
});

describe("framing", () => {
  /** name, stream, request, framing, declared length, body, keepAlive. */
  test.each<[string, string, AskedRequest, ResponseHead["framing"], number | undefined, string, boolean]>([
    ["a length", ok("Content-Length: 2\r\n", "hi"), GET, { kind: "length", length: 2 }, 2, "hi", true],
    ["an empty body", ok("Content-Length: 0\r\n"), GET, { kind: "length", length: 0 }, 0, "", true],
    [
      "chunks",
      ok("Transfer-Encoding: chunked\r\n", "2;x\r\nhi\r\n0\r\n\r\n"),
      GET,
      { kind: "chunked" },
      undefined,
      "hi",
      true,
    ],
    ["neither", ok("", "until the end"), GET, { kind: "close" }, undefined, "until the end", false],
    ["neither, and nothing comes", ok(""), GET, { kind: "close" }, undefined, "", false],
    ["neither in HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nx", GET, { kind: "close" }, undefined, "x", false],
    ["HEAD with a length", ok("Content-Length: 2\r\n"), HEAD, { kind: "none" }, 2, "", true],
    ["HEAD with chunks", ok("Transfer-Encoding: chunked\r\n"), HEAD, { kind: "none" }, undefined, "", true],
    ["HEAD with neither", ok(""), HEAD, { kind: "none" }, undefined, "", true],
    ["204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", GET, { kind: "none" }, 5, "", true],
    [
      "204 with chunks",
      "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
      GET,
      { kind: "none" },
      undefined,
      "",
      true,
    ],
    ["304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", GET, { kind: "none" }, 5, "", true],
    [
      "205 with a length",
      "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
      GET,
      { kind: "length", length: 0 },
      0,
      "",
      true,
    ],
    ["200 to CONNECT", ok("Content-Length: 5\r\n"), CONNECT, { kind: "none" }, 5, "", true],
    [
      "403 to CONNECT",
      "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno",
      CONNECT,
      { kind: "length", length: 2 },
      2,
      "no",
      true,
    ],
    [
      "Connection: close",
      ok("Connection: close\r\nContent-Length: 2\r\n", "hi"),
      GET,
      { kind: "length", length: 2 },
      2,
      "hi",
      false,
    ],
    [
      "HTTP/1.0 with keep-alive",
      "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
      GET,
      { kind: "length", length: 0 },
      0,
      "",
      true,
    ],
    ["HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", GET, { kind: "length", length: 0 }, 0, "", false],
  ])("of a response with %s", (_, text, asked, framing, declaredLength, body, keepAlive) => {
    const message = readOne(text, asked);
    expect(message.head).toMatchObject({ framing, keepAlive });
    expect(message.head.declaredLength).toBe(declaredLength);
    expect(message).toMatchObject({ body, isComplete: true });
  });

  const contradictions: [string, string][] = [
    ["both", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"],
    ["two lengths", "Content-Length: 5\r\nContent-Length: 5\r\n"],
    ["a list of lengths", "Content-Length: 5, 5\r\n"],
    ["a signed length", "Content-Length: +5\r\n"],
    ["a huge length", "Content-Length: 9007199254740992\r\n"],
    ["an empty length", "Content-Length:\r\n"],
    ["an unknown coding", "Transfer-Encoding: gzip\r\n"],
    ["two codings", "Transfer-Encoding: gzip, chunked\r\n"],
    ["chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"],
    ["an empty coding", "Transfer-Encoding:\r\n"],
  ];
  test.each(contradictions)("refuses %s, also where no body would follow", (_, lines) => {
    const violation = { code: "E_HTTP_RESPONSE_FRAMING", status: 502 };
    expect(read(ok(lines, "0\r\n\r\n"))).toEqual({ messages: [], violation });
    expect(read(ok(lines), [HEAD])).toEqual({ messages: [], violation });
    expect(read(`HTTP/1.1 304 x\r\n${lines}\r\n`)).toEqual({ messages: [], violation });
  });

  test("refuses chunked in HTTP/1.0", () => {
    const { violation } = read("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    expect(violation).toEqual({ code: "E_HTTP_RESPONSE_FRAMING", status: 502 });
  });

  test.each([
    "5 \r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n",
    "0x5\r\nhello\r\n",
    "5\r\nhelloX\r\n",
    `1;${"x".repeat(4096)}\r\nx\r\n`,
  ])("refuses the chunks %j", (body) => {
    const { messages, violation } = read(ok("Transfer-Encoding: chunked\r\n", body));
    expect(violation).toEqual({ code: "E_HTTP_RESPONSE_FRAMING", status: 502 });
    expect(messages[0]?.isComplete).toBe(false);
  });

  test("trailers are filtered as a request's are", () => {
    const { messages } = read(
      ok("Transfer-Encoding: chunked\r\n", "0\r\ngrpc-status: 0\r\nSet-Cookie: a\r\nX_Countersign_Id: 1\r\n\r\n"),
    );
    expect(messages[0]?.trailers).toEqual(["grpc-status", "0"]);
  });

  test.each([
    ["nothing", ""],
    ["half a head", "HTTP/1.1 200 OK\r\nConte"],
    ["half a body", ok("Content-Length: 5\r\n", "hell")],
    ["half a chunk", ok("Transfer-Encoding: chunked\r\n", "5\r\nhell")],
    ["no last chunk", ok("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n")],
    ["only an interim response", "HTTP/1.1 100 Continue\r\n\r\n"],
  ])("a stream that ends after %s is incomplete", (_, text) => {
    const decoder = createResponseDecoder(usualLimits, { onHead() {}, onData() {}, onEnd() {} });
    decoder.expect(GET);
    expect(decoder.atBoundary).toBe(false);
    decoder.push(Buffer.from(text), 0);
    const violation = decoder.end();
    expect([violation?.error.code, violation?.status]).toEqual(["E_HTTP_RESPONSE_INCOMPLETE", 502]);
  });
});

describe("interim responses", () => {
  test("come as heads before the final one, whatever length they claim", () => {
    const stream = `HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${ok("Content-Length: 2\r\n", "hi")}`;
    const { messages, violation } = read(stream);
    expect(violation).toBeUndefined();
    expect(messages.map(({ head, isComplete }) => [head.status, isComplete])).toEqual([
      [100, false],
      [103, false],
      [200, true],
    ]);
  });

  test("may be a hundred, and not one more", () => {
    const interim = "HTTP/1.1 102 Processing\r\n\r\n";
    expect(read(interim.repeat(100) + ok("Content-Length: 0\r\n")).violation).toBeUndefined();
    const twice = (interim.repeat(100) + ok("Content-Length: 0\r\n")).repeat(2);
    expect(read(twice, [GET, GET]).violation).toBeUndefined();
    expect(read(interim.repeat(101)).violation).toEqual({ code: "E_HTTP_RESPONSE_UNEXPECTED", status: 502 });
  });
});

describe("101", () => {
  const switching = (lines: string): string => `HTTP/1.1 101 Switching Protocols\r\n${lines}\r\n`;
  const right = switching("Connection: Upgrade\r\nUpgrade: WebSocket\r\n");

  test("is believed with the protocol that was asked for; what follows stays with the caller", () => {
    const events: string[] = [];
    const decoder = createResponseDecoder(usualLimits, {
      onHead: (head) => void events.push(`${head.status} ${head.upgrade}`),
      onData: () => void events.push("data"),
      onEnd: () => void events.push("end"),
    });
    decoder.expect(WEBSOCKET);
    expect(decoder.push(Buffer.from(`${right}\x81\x00`), 0)).toBe(right.length);
    expect(events).toEqual(["101 websocket", "end"]);
  });

  test.each<[string, string, AskedRequest]>([
    ["without being asked", right, GET],
    ["to another protocol", switching("Connection: upgrade\r\nUpgrade: foo\r\n"), WEBSOCKET],
    ["to two protocols", switching("Connection: upgrade\r\nUpgrade: websocket, foo\r\n"), WEBSOCKET],
    [
      "with two Upgrade fields",
      switching("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n"),
      WEBSOCKET,
    ],
    ["without Upgrade", switching("Connection: upgrade\r\n"), WEBSOCKET],
    ["without Connection", switching("Upgrade: websocket\r\n"), WEBSOCKET],
    ["to h2c", switching("Connection: upgrade\r\nUpgrade: h2c\r\n"), { method: "GET", upgrade: "h2c" }],
    ["in HTTP/1.0", right.replace("1.1", "1.0"), WEBSOCKET],
  ])("is refused %s", (_, text, asked) => {
    expect(read(text, [asked])).toEqual({ messages: [], violation: { code: "E_HTTP_RESPONSE_UPGRADE", status: 502 } });
  });

  test("may be declined with an ordinary response", () => {
    expect(readOne(ok("Content-Length: 2\r\n", "no"), WEBSOCKET)).toMatchObject({
      body: "no",
      head: { upgrade: undefined },
    });
  });
});

describe("boundaries", () => {
  test("responses answer requests in order, each framed by its own request", () => {
    const stream = `${ok("Content-Length: 9\r\n")}${ok("Content-Length: 2\r\n", "hi")}${ok("", "rest")}`;
    const { messages, violation } = read(stream, [HEAD, GET, GET]);
    expect(violation).toBeUndefined();
    expect(messages.map(({ body }) => body)).toEqual(["", "hi", "rest"]);
  });

  test("refuses bytes that answer no request", () => {
    const { messages, violation } = read(ok("Content-Length: 2\r\n", "hi!"));
    expect(messages.map(({ isComplete }) => isComplete)).toEqual([true]);
    expect(violation).toEqual({ code: "E_HTTP_RESPONSE_UNEXPECTED", status: 502 });
  });

  test("refuses to expect a second response before the first is complete", () => {
    const decoder = createResponseDecoder(usualLimits, { onHead() {}, onData() {}, onEnd() {} });
    decoder.expect(GET);
    expect(() => decoder.expect(GET)).toThrow(TypeError);
    decoder.push(Buffer.from(ok("Content-Length: 2\r\n", "h")), 0);
    expect(() => decoder.expect(GET)).toThrow(TypeError);
    decoder.push(Buffer.from("i"), 0);
    expect(decoder.atBoundary).toBe(true);
    expect(decoder.end()).toBeUndefined();
    expect(() => decoder.expect(GET)).not.toThrow();
  });
});
