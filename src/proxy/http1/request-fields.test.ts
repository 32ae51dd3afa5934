import { describe, expect, test } from "vitest";
import { get, HOST, post, read, readOne, refuses } from "../../../test/support/http1-requests.ts";
import { usualLimits } from "../../../test/support/http1-transcript.ts";
import { createRequestDecoder } from "./request-decoder.ts";

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
