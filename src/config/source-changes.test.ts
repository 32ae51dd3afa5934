import { expect, it } from "vitest";
import { losesSomething, sameFiles } from "./source-changes.ts";

const files = (...texts: string[]) => texts.map((text, i) => ({ file: `${i}.yaml`, text }));

it.each([
  ["nothing changed", files("a: 1"), files("a: 1"), false],
  ["a value changed", files("a: 1"), files("a: 2"), false],
  ["a file came", files("a: 1"), files("a: 1", "b: 2"), false],
  ["a document came", files("a: 1"), files("a: 1\n---\nb: 2"), false],
  ["a file is gone", files("a: 1", "b: 2"), files("a: 1"), true],
  ["a document is gone", files("a: 1\n---\nb: 2"), files("a: 1"), true],
  ["a document is gone and another changed", files("a: 1\n---\nb: 2"), files("a: 3"), true],
  ["a document is gone, its separator is left", files("a: 1\n---\nb: 2"), files("c: 1\n---\n# nothing\n"), true],
  ["a file ends early", files("a: 1\nb: 2\n"), files("a: 1\n"), true],
  ["a file is empty", files("a: 1"), files(""), true],
])("%s: a loss is %s", (_what, before, after, loses) => {
  expect(losesSomething(before, after)).toBe(loses);
});

it("compares names and texts", () => {
  expect(sameFiles(files("a"), files("a"))).toBe(true);
  expect(sameFiles(files("a"), files("b"))).toBe(false);
  expect(sameFiles(files("a"), files("a", "b"))).toBe(false);
  expect(sameFiles(files("a"), [{ file: "other.yaml", text: "a" }])).toBe(false);
});
