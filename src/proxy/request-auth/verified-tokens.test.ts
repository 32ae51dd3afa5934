import { describe, expect, it } from "vitest";
import { jwkSet, tokenKey } from "../../../test/support/token-issuer.ts";
import { parseJwkSet } from "../../certs/jwt/jwk-set.ts";
import { createVerifiedTokens } from "./verified-tokens.ts";

const text = jwkSet(tokenKey("ES256", "a"));
const set = parseJwkSet(text);
const NOW = 1_000_000;
const SKEW = 30_000;
const claims = { sub: "alice", exp: NOW / 1000 + 60 };
const END = NOW + 60_000 + SKEW;

describe("a token that was verified", () => {
  it("is known again until it expires", () => {
    const tokens = createVerifiedTokens();
    tokens.keep("t", set, claims, SKEW);
    expect(tokens.find("t", set, NOW)).toBe(claims);
    expect(tokens.find("t", set, END - 1)).toBe(claims);
    expect(tokens.find("t", set, END)).toBeUndefined();
  });

  it.each([
    ["another token", "u", set],
    ["the same token in another case", "T", set],
    ["other keys, be they equal", "t", parseJwkSet(text)],
    ["no keys any more", "t", undefined],
  ])("says nothing about %s", (_, token, keys) => {
    const tokens = createVerifiedTokens();
    tokens.keep("t", set, claims, SKEW);
    expect(tokens.find(token, keys, NOW)).toBeUndefined();
  });

  it("is not kept without an end, or when it is long", () => {
    const tokens = createVerifiedTokens();
    const long = "t".repeat(4097);
    tokens.keep("t", set, { sub: "alice" }, SKEW);
    tokens.keep(long, set, claims, SKEW);
    expect([tokens.find("t", set, NOW), tokens.find(long, set, NOW)]).toEqual([undefined, undefined]);
  });

  it("makes room for newer ones: 1024 are kept", () => {
    const tokens = createVerifiedTokens();
    for (let i = 0; i < 1025; i++) tokens.keep(`t${i}`, set, claims, SKEW);
    expect([tokens.find("t0", set, NOW), tokens.find("t1", set, NOW)]).toEqual([undefined, claims]);
  });
});
