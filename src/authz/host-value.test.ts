import { describe, expect, it } from "vitest";
import { deadHostValue, deadServerName } from "./host-value.ts";

describe("a host value", () => {
  it.each([
    "*",
    "a.example",
    "A.Example",
    "a.example.",
    "a.example:8080",
    "a_b.example:0",
    "10.0.0.1:80",
    "[::1]",
    "[2001:db8::1]:443",
    "[2001:db8:*",
    "*:1]",
    "*.example",
    "*.example:80",
    "*:8080",
    "*080",
    "api.*",
    "a.example:*",
    "a.example:80*",
    "xn--mnchen-3ya.example",
  ])("that some request has is no warning: %s", (value) => {
    expect(deadHostValue(value)).toBeUndefined();
  });

  it.each([
    ["münchen.example", "xn--", 'write "xn--mnchen-3ya.example"'],
    ["münchen.example:8080", "xn--", 'write "xn--mnchen-3ya.example:8080"'],
    ["api.münchen:80", "xn--", 'write "api.xn--mnchen-3ya:80"'],
    ["MÜNCHEN.example", "xn--", 'write "xn--mnchen-3ya.example"'],
    ["*.münchen.example", "xn--", 'write "*.xn--mnchen-3ya.example"'],
    ["*münchen.example", "xn--", "of whole labels"],
    ["münchen.*", "xn--", 'write "xn--mnchen-3ya.*"'],
    ["mün*", "xn--", "of whole labels"],
    ["a b", "character that no host", "host:port"],
    ["a.example/x", "character that no host", "host:port"],
    ["a@b", "character that no host", "host:port"],
    ["x..example", "empty label", 'write "x.example"'],
    [".example", "empty label", 'write "*.example" for the names below it, or "example"'],
    [".a..example:80", "empty label", 'write "*.a.example:80" for'],
    [".x*", "empty label", 'write "x*"'],
    ["*..example:80", "empty label", 'write "*.example:80"'],
    ["..", "empty label", "write the name"],
    ["a.example:080", "port", 'write "a.example:80"'],
    ["a.example:00", "port", 'write "a.example:0"'],
    ["a.example:", "port", 'write "a.example"'],
    ["a.example:http", "port", ":8080"],
    ["a.example:65536", "port", ":8080"],
    ["a.example:08*", "port", 'write "a.example:8*"'],
    ["*:0443", "port", 'write "*:443"'],
    ["[::1]:080", "port", 'write "[::1]:80"'],
    ["2001:db8::1", "colon", "[2001:db8::1]"],
    ["[::1", "brackets", "[::1]"],
  ])("that no request has says why: %s, %s, %s", (value, problem, fix) => {
    expect(deadHostValue(value)?.problem).toContain(problem);
    expect(deadHostValue(value)?.fix).toContain(fix);
  });
});

describe("a server name", () => {
  it.each(["*", "a.example", "A.example", "a.example.", "*.example", "api.*", "x..example", ".example"])(
    "may be asked for: %s",
    (value) => {
      expect(deadServerName(value)).toBeUndefined();
    },
  );

  it.each([
    ["münchen.example", "xn--", 'write "xn--mnchen-3ya.example"'],
    ["a.example:443", "no server name", "the name alone"],
  ])("that nobody asks for says why: %s, %s, %s", (value, problem, fix) => {
    expect(deadServerName(value)?.problem).toContain(problem);
    expect(deadServerName(value)?.fix).toContain(fix);
  });
});
