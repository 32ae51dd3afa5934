import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { asciiJson, printable, quoteJson } from "./safe-text.ts";

const anyText = fc.string({ unit: "binary", maxLength: 60 });
const loneSurrogates = fc.array(fc.integer({ min: 0xd700, max: 0xe000 })).map((units) => String.fromCharCode(...units));
const hasUnsafeByte = (text: string): boolean =>
  Array.from(text).some((char) => (char < " " && char !== "\n") || char > "~");

describe("quoteJson", () => {
  it("parses back to the same text and is printable ASCII, for any text", () => {
    fc.assert(
      fc.property(fc.oneof(anyText, loneSurrogates), (text) => {
        const quoted = quoteJson(text, 10_000);
        expect(JSON.parse(quoted)).toBe(text);
        expect(hasUnsafeByte(quoted) || quoted.includes("\n")).toBe(false);
      }),
    );
  });
  it.each([
    ["a line feed", "a\nb", '"a\\u000ab"'],
    ["a quote and a backslash", 'a"\\b', '"a\\"\\\\b"'],
    ["an escape sequence", "\u001b[2J", '"\\u001b[2J"'],
    ["DEL and a C1 control", "\u007f\u009b", '"\\u007f\\u009b"'],
    ["a line separator", "\u2028", '"\\u2028"'],
    ["a bidirectional override", "\u202eevil", '"\\u202eevil"'],
    ["a lone surrogate", "\ud800", '"\\ud800"'],
  ])("escapes %s", (_name, text, quoted) => {
    expect(quoteJson(text, 100)).toBe(quoted);
  });
  it("cuts a long text and says how much is missing", () => {
    expect(JSON.parse(quoteJson("x".repeat(15), 10))).toBe("xxxxxxxxxx…[+5]");
    expect(JSON.parse(quoteJson("\n".repeat(3), 2))).toBe("\n\n…[+1]");
  });
});

describe("asciiJson", () => {
  it("changes no value", () => {
    fc.assert(
      fc.property(fc.jsonValue(), anyText, (value, text) => {
        const ascii = asciiJson(JSON.stringify({ value, [text]: text }));
        expect(hasUnsafeByte(ascii)).toBe(false);
        expect(JSON.stringify(JSON.parse(ascii))).toBe(JSON.stringify({ value, [text]: text }));
      }),
    );
  });
});

describe("printable", () => {
  it.each([
    ["keeps letters of any script", "größe 訂單", "größe 訂單"],
    ["shows controls", "\u001b]0;x\u0007\r\n\t", "\\u001b]0;x\\u0007\\u000d\\u000a\\u0009"],
    ["shows C1 and DEL", "\u009b31m\u007f", "\\u009b31m\\u007f"],
    ["shows bidirectional and zero-width marks", "\u202e\u200b\u2066", "\\u202e\\u200b\\u2066"],
    ["shows line separators", "\u2028\u2029", "\\u2028\\u2029"],
    ["shows lone surrogates", "\udc00", "\\udc00"],
    ["shows tag characters, which hide text", "\u{e0041}", "\\udb40\\udc41"],
    ["doubles backslashes so that no escape is faked", "\\u001b", "\\\\u001b"],
  ])("%s", (_name, text, shown) => {
    expect(printable(text)).toBe(shown);
  });
});
