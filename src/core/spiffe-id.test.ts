import { describe, expect, test } from "vitest";
import { parseSpiffeId, parseTrustDomain, pathOf, principalOf, spiffeIdProblem, trustDomainOf } from "./spiffe-id.ts";

const domain255 = "a".repeat(255);
const prefix = "spiffe://example.org/";

describe("a valid SPIFFE ID is taken apart", () => {
  test.each([
    ["spiffe://example.org/ns/shop/sa/web", "example.org", "/ns/shop/sa/web"],
    ["spiffe://example.org", "example.org", ""],
    ["spiffe://a/b", "a", "/b"],
    ["spiffe://1.2.3.4/web", "1.2.3.4", "/web"],
    ["spiffe://under_score-dash.0/A-Z_a.z/0", "under_score-dash.0", "/A-Z_a.z/0"],
    ["spiffe://example.org/...", "example.org", "/..."],
    ["spiffe://example.org/.hidden/..x/y..", "example.org", "/.hidden/..x/y.."],
    [`spiffe://${domain255}/x`, domain255, "/x"],
    [`${prefix}${"p".repeat(2048 - prefix.length)}`, "example.org", `/${"p".repeat(2048 - prefix.length)}`],
  ])("%s", (text, trustDomain, path) => {
    const id = parseSpiffeId(text);
    expect([trustDomainOf(id), pathOf(id), principalOf(id)]).toEqual([
      trustDomain,
      path,
      text.slice("spiffe://".length),
    ]);
  });
});

describe("what is no SPIFFE ID is refused with the rule it breaks", () => {
  test.each([
    ["", "start with"],
    ["example.org/web", "start with"],
    ["SPIFFE://example.org/web", "start with"],
    ["spiffe:/example.org/web", "start with"],
    [" spiffe://example.org/web", "start with"],
    ["https://example.org/web", "start with"],
    ["spiffe://", "trust domain that is empty"],
    ["spiffe:///web", "trust domain that is empty"],
    ["spiffe://Example.org/web", "trust domain that has a character"],
    ["spiffe://example.org:443/web", "trust domain that has a character"],
    ["spiffe://user@example.org/web", "trust domain that has a character"],
    ["spiffe://ex%61mple.org/web", "trust domain that has a character"],
    ["spiffe://exämple.org/web", "trust domain that has a character"],
    ["spiffe://[::1]/web", "trust domain that has a character"],
    ["spiffe://example.org?x", "trust domain that has a character"],
    ["spiffe://example.org#x", "trust domain that has a character"],
    [`spiffe://${domain255}a/x`, "longer than 255"],
    ["spiffe://example.org/", "slash"],
    ["spiffe://example.org/web/", "slash"],
    ["spiffe://example.org//web", "empty path segment"],
    ["spiffe://example.org/a//b", "empty path segment"],
    ["spiffe://example.org/.", ". or .."],
    ["spiffe://example.org/..", ". or .."],
    ["spiffe://example.org/a/../b", ". or .."],
    ["spiffe://example.org/./b", ". or .."],
    ["spiffe://example.org/a%2fb", "path character"],
    ["spiffe://example.org/a b", "path character"],
    ["spiffe://example.org/a?b", "path character"],
    ["spiffe://example.org/a#b", "path character"],
    ["spiffe://example.org/a\\b", "path character"],
    ["spiffe://example.org/a\0b", "path character"],
    ["spiffe://example.org/a\n", "path character"],
    ["spiffe://example.org/*", "path character"],
    ["spiffe://example.org/ä", "path character"],
    [`${prefix}${"p".repeat(2049 - prefix.length)}`, "longer than 2048"],
  ])("%j", (text, reason) => {
    expect(spiffeIdProblem(text)).toContain(reason);
    expect(() => parseSpiffeId(text)).toThrow(expect.objectContaining({ code: "E_SPIFFE_ID" }));
  });
});

test.each([
  ["", "empty"],
  ["a/b", "character"],
  ["A", "character"],
  ["a:1", "character"],
  [`${domain255}a`, "255"],
])("%j is no trust domain", (text, reason) => {
  expect(() => parseTrustDomain(text)).toThrow(
    expect.objectContaining({ code: "E_TRUST_DOMAIN", message: expect.stringContaining(reason) }),
  );
});

test("a trust domain of 255 allowed characters is one", () => {
  expect(parseTrustDomain(domain255)).toBe(domain255);
  expect(parseTrustDomain("a.b-c_0")).toBe("a.b-c_0");
});

test("an error never repeats more than 200 characters of the text", () => {
  expect(() => parseSpiffeId("x".repeat(5000))).toThrow(
    expect.objectContaining({ message: expect.stringMatching(/^.{0,260}$/) }),
  );
});
