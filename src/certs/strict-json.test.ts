import { describe, expect, it } from "vitest";
import { checkStrictJson, JsonError, parseStrictJson } from "./strict-json.ts";

describe("strict JSON", () => {
  it.each([
    ["the same key twice", '{"a":1,"a":2}', /^has the key "a" twice in one object$/],
    ["the same key twice, once escaped", '{"a":1,"\\u0061":2}', /twice/],
    ["the same key twice, with white space before its colon", '{"a":1,"a" \t\r\n:2}', /twice/],
    ["the same key twice, far inside", '[{"b":[{"a":1,"x":{"a":0},"a":2}]}]', /twice/],
    ["what is no JSON", '{"a":}', /no JSON/],
    ["an unfinished string", '{"a', /no JSON/],
    ["a bad escape in a key", '{"\\x":1,"\\x":1}', /no JSON/],
    ["nothing", "", /no JSON/],
    ["101 levels", `${"[".repeat(101)}${"]".repeat(101)}`, /more than 100 levels/],
    ["more values than any document of ours has", `[${"0,".repeat(16_384)}0]`, /more than 16384 values/],
    ["more empty lists", `[${"[],".repeat(8_200)}0]`, /more than 16384 values/],
  ])("refuses %s", (_, text, message) => {
    expect(() => parseStrictJson(text)).toThrow(JsonError);
    expect(() => parseStrictJson(text)).toThrow(message);
    expect(() => checkStrictJson(text)).toThrow(message);
  });

  it.each([
    ["brackets, colons and commas in texts", '{"{[\\"":"}],:{\\\\","a":"a"}'],
    ["the same key in several objects", '[{"a":{"a":[{"a":1}]}},{"a":2}]'],
    ["a text that is no key", '{"a":["a","a"],"b":"a"}'],
    ["100 levels", `${"[".repeat(100)}${"]".repeat(100)}`],
    ["16384 values", `[${"0,".repeat(16_382)}0]`],
    ["a fraction of many digits", `[0.${"3".repeat(100)},1e3,-1.5]`],
  ])("takes %s, as JSON.parse reads it", (_, text) => {
    expect(parseStrictJson(text)).toEqual(JSON.parse(text));
    checkStrictJson(text);
  });

  it("gives integers that a number cannot hold as bigint, unless they are longer than any that we read", () => {
    const long = "9".repeat(41);
    const text = `[9007199254740991, 9007199254740993, -18446744073709551615, ${long}]`;
    expect(parseStrictJson(text)).toEqual([9007199254740991, 9007199254740993n, -18446744073709551615n, Number(long)]);
  });
});
