import { describe, expect, it } from "vitest";
import { activeTerm, liveTerms, nextChangeMs, preparationMs } from "./authority-terms.ts";

const first = { name: "first", createdMs: 0, notAfterMs: 600 };
const second = { name: "second", createdMs: 300, notAfterMs: 900 };
const late = { name: "late", createdMs: 540, notAfterMs: 1140 };
const third = { name: "third", createdMs: 600, notAfterMs: 1200 };
const name = (term: { readonly name: string } | undefined): string | undefined => term?.name;

describe("the terms of authorities", () => {
  it.each([
    ["one, in its life", [first], 10, "first"],
    ["one, at its end", [first], 600, undefined],
    ["none", [], 0, undefined],
    ["a new one, only published so far", [first, second], 499, "first"],
    ["a new one, at 5/6 of the old one's life", [first, second], 500, "second"],
    ["a new one, after the old one's end", [first, second], 700, "second"],
    ["in any order", [second, first], 499, "first"],
    ["a new one made late, not yet published for long", [first, late], 579, "first"],
    ["a new one made late, after two thirds of the overlap", [first, late], 580, "late"],
    ["a new one made after the old one's end", [first, third], 601, "third"],
    ["a clock set back before all of them", [first, second], -5, "first"],
  ])("sign: %s", (_name, terms, nowMs, expected) => {
    expect(name(activeTerm(terms, nowMs))).toBe(expected);
  });

  it("are trusted until they end, the oldest first", () => {
    expect(liveTerms([second, first], 599).map(name)).toEqual(["first", "second"]);
    expect(liveTerms([second, first], 600).map(name)).toEqual(["second"]);
  });

  it("are followed by the next at half the life of the newest", () => {
    expect(preparationMs([])).toBe(0);
    expect(preparationMs([first])).toBe(300);
    expect(preparationMs([second, first])).toBe(600);
  });

  it.each([
    [[first], 10, 300],
    [[first, second], 300, 500],
    [[first, second], 500, 600],
    [[second], 600, 900],
  ])("change next: %#", (terms, nowMs, expected) => {
    expect(nextChangeMs(terms, nowMs)).toBe(expected);
  });
});
