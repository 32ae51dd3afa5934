import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type AffixTree, affixTree, nextAffix } from "./affix-tree.ts";

function found(tree: AffixTree<string>, text: string): readonly string[] {
  const values: string[] = [];
  let used = 0;
  for (
    let node = nextAffix(tree, tree.root, text, used);
    node !== undefined;
    node = nextAffix(tree, node, text, used)
  ) {
    used += node.label.length;
    if (node.value !== undefined) values.push(node.value);
  }
  return values;
}

const word = fc.string({ unit: fc.constantFrom("a", "b", "/"), minLength: 1, maxLength: 6 });

describe.each([
  ["prefixes", false],
  ["suffixes", true],
] as const)("an affix tree of %s", (_, fromEnd) => {
  it("finds exactly those of a text, shortest first", () => {
    fc.assert(
      fc.property(fc.array(word, { maxLength: 20 }), word, (affixes, text) => {
        const tree = affixTree(
          affixes.map((affix) => [affix, affix]),
          fromEnd,
        );
        const expected = [...new Set(affixes)]
          .filter((affix) => (fromEnd ? text.endsWith(affix) : text.startsWith(affix)))
          .toSorted((a, b) => a.length - b.length);
        expect(found(tree, text)).toEqual(expected);
      }),
    );
  });
});
