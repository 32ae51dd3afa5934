import { type AffixTree, affixTree, nextAffix } from "./affix-tree.ts";
import { compilePathTemplate, isPathTemplate, matchesPathTemplate, type PathTemplate } from "./path-template.ts";
import type { PolicyMode } from "./policy-options.ts";
import { parseTextPattern } from "./text-pattern.ts";

/** All different path values of a set of policies, each with a number. */
export interface PathIndex {
  readonly exact: ReadonlyMap<string, number>;
  readonly prefixes: AffixTree<number>;
  readonly suffixes: AffixTree<number>;
  /** By the text before the first operator. */
  readonly templates: AffixTree<readonly { readonly number: number; readonly template: PathTemplate }[]>;
}

export function pathIndex(values: Iterable<string>, mode: PolicyMode): PathIndex {
  const exact = new Map<string, number>();
  const affixes = { prefix: new Map<string, number>(), suffix: new Map<string, number>() };
  const templates = new Map<string, { number: number; template: PathTemplate }[]>();
  let number = 0;
  for (const value of new Set(values)) {
    number++;
    const pattern = parseTextPattern(value);
    if (isPathTemplate(value)) {
      const template = compilePathTemplate(value, mode === "istio");
      const head = template.literals[0] ?? "";
      templates.set(head, [...(templates.get(head) ?? []), { number, template }]);
    } else if (pattern.form === "exact") exact.set(pattern.text, number);
    else if (pattern.form !== "any") affixes[pattern.form].set(pattern.text, number);
  }
  return {
    exact,
    prefixes: affixTree(affixes.prefix, false),
    suffixes: affixTree(affixes.suffix, true),
    templates: affixTree(templates, false),
  };
}

function collectAffixes<T>(tree: AffixTree<T>, path: string, visit: (value: T) => void): void {
  let used = 0;
  let node = nextAffix(tree, tree.root, path, used);
  while (node !== undefined) {
    used += node.label.length;
    if (node.value !== undefined) visit(node.value);
    node = nextAffix(tree, node, path, used);
  }
}

/** The numbers of the values that match the path. `*` is left out: it matches every path. */
function matchingValues(index: PathIndex, path: string): ReadonlySet<number> {
  const found = new Set<number>();
  const exact = index.exact.get(path);
  if (exact !== undefined) found.add(exact);
  const add = (number: number) => found.add(number);
  collectAffixes(index.prefixes, path, add);
  collectAffixes(index.suffixes, path, add);
  collectAffixes(index.templates, path, (entries) => {
    for (const { number, template } of entries) if (matchesPathTemplate(template, path)) found.add(number);
  });
  return found;
}

/** Whether some value matches one of the two paths and not the other. */
export function matchedDifferently(index: PathIndex, one: string, other: string): boolean {
  const left = matchingValues(index, one);
  const right = matchingValues(index, other);
  return left.symmetricDifference(right).size > 0;
}
