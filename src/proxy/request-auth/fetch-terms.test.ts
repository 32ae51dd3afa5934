import { expect, it } from "vitest";
import { type FetchTerms, isTightened } from "./fetch-terms.ts";

const terms = (change: Partial<FetchTerms> = {}): FetchTerms => ({
  strict: true,
  addresses: ["10.0.0.0/8"],
  ca: undefined,
  ...change,
});

it.each<readonly [string, Partial<FetchTerms>, Partial<FetchTerms>, boolean]>([
  ["the same", {}, {}, false],
  ["one more address", {}, { addresses: ["10.0.0.0/8", "127.0.0.0/8"] }, false],
  ["one address less", {}, { addresses: [] }, true],
  ["another address", {}, { addresses: ["10.1.0.0/16"] }, true],
  ["an authority of its own", {}, { ca: "ca.pem" }, true],
  ["the system's authorities again", { ca: "ca.pem" }, {}, true],
  ["strict from now on", { strict: false }, {}, true],
  ["strict no more", {}, { strict: false, addresses: [] }, false],
  ["other addresses where none is checked", { strict: false }, { strict: false, addresses: [] }, false],
])("%s", (_, before, now, expected) => {
  expect(isTightened(terms(before), terms(now))).toBe(expected);
});
