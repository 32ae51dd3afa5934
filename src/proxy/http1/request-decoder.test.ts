import { describe, expect, test } from "vitest";
import { chunked, get, HOST, post, read, refuses } from "../../../test/support/http1-requests.ts";
import { usualLimits } from "../../../test/support/http1-transcript.ts";
import type { RequestHead } from "./http1-events.ts";
import { createRequestDecoder } from "./request-decoder.ts";

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
