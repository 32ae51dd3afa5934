import { expect, test } from "vitest";
import { parseSpiffeId } from "../core/spiffe-id.ts";
import { matchesExpected } from "./expected-identity.ts";

const exact = { exact: parseSpiffeId("spiffe://example.org/ns/shop/sa/web"), prefix: undefined };
const star = { exact: undefined, prefix: "spiffe://example.org/ns/shop/sa/" };

test.each([
  [exact, "spiffe://example.org/ns/shop/sa/web", true],
  [exact, "spiffe://example.org/ns/shop/sa/web2", false],
  [exact, "spiffe://example.org/ns/shop/sa", false],
  [exact, "spiffe://partner.org/ns/shop/sa/web", false],
  [star, "spiffe://example.org/ns/shop/sa/web", true],
  [star, "spiffe://example.org/ns/shop/sa", false],
  [star, "spiffe://example.org/ns/shop/sa/web/admin", false],
  [star, "spiffe://example.org/ns/shop/other/web", false],
  [star, "spiffe://partner.org/ns/shop/sa/web", false],
  [{ exact: undefined, prefix: undefined }, "spiffe://example.org/web", false],
] as const)("%j and %s: %s", (expected, id, matches) => {
  expect(matchesExpected(expected, parseSpiffeId(id))).toBe(matches);
});
