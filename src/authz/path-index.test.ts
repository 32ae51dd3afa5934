import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { atOnce } from "./at-once.ts";
import { growingWords } from "./growing-words.ts";
import { buildPathIndex, matchedDifferently } from "./path-index.ts";
import { compilePathTemplate, isPathTemplate, matchesPathTemplate } from "./path-template.ts";
import { inTextSet, parseTextPattern, textSet } from "./text-pattern.ts";

type Compare = (mode: "strict" | "istio", one: string, other: string) => boolean;

function compareBy(values: readonly string[], isAsked = false): Compare {
  const words = growingWords();
  words.add(7, 7, 7); // others stand before it
  const index = atOnce(buildPathIndex(values, words, isAsked));
  const taken = words.take();
  return (mode, one, other) => matchedDifferently(index, taken, mode, one, [other]);
}

function matches(value: string, mode: "strict" | "istio", path: string): boolean {
  if (isPathTemplate(value)) return matchesPathTemplate(compilePathTemplate(value, mode === "istio"), path);
  return inTextSet(textSet([parseTextPattern(value)]), path);
}

const segment = fc.constantFrom("a", "b", "ab", "{*}", "{**}", "é", "|");
const value = fc.oneof(
  fc.array(segment, { maxLength: 4 }).map((some) => `/${some.join("/")}`),
  fc.constantFrom("*", "/a*", "/a/*", "/a/b*", "*b", "*/b", "*", "/"),
);
const path = fc
  .array(fc.constantFrom("a", "b", "ab", "", "é", "|"), { maxLength: 5 })
  .map((some) => `/${some.join("/")}`);

describe("two readings of a path", () => {
  it("are different just when a value matches one of them alone", () => {
    const mode = fc.constantFrom("strict" as const, "istio" as const);
    const known = value.filter(
      (one) => one.indexOf("{**}") === -1 || !one.slice(one.indexOf("{**}") + 4).includes("{"),
    );
    fc.assert(
      fc.property(
        fc.array(known, { maxLength: 12 }),
        mode,
        fc.array(path, { maxLength: 6 }),
        (values, asked, paths) => {
          const compare = compareBy(values);
          for (const one of paths)
            for (const other of paths)
              expect(compare(asked, one, other)).toBe(
                values.some((each) => matches(each, asked, one) !== matches(each, asked, other)),
              );
        },
      ),
      { numRuns: 500 },
    );
  });

  it("are different wherever an expression looks at paths", () => {
    const compare = compareBy([], true);
    expect([compare("strict", "/a", "/b"), compare("strict", "/a", "/a")]).toEqual([true, false]);
  });

  it("are compared at once among thousands of templates, however long a segment is", () => {
    const compare = compareBy(
      Array.from({ length: 20_000 }, (_, i) => (i % 2 === 0 ? `/api/{*}/items/${i}` : `/very/long/{*}/{**}/${i}`)),
    );
    const long = "x".repeat(16_000);
    // One after the other each round takes seconds: the test would not end in time.
    for (let round = 0; round < 50; round++) {
      expect(compare("strict", `/api/${long};`, `/api/${long}`)).toBe(false);
      expect(compare("strict", `/very/long/${long};/a`, `/very/long/${long}/a`)).toBe(false);
      expect(compare("strict", `/api/${long}/items/8;`, `/api/${long}/items/8`)).toBe(true);
    }
  });
});
