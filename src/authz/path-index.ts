import { compilePathTemplate, isPathTemplate, matchesPathTemplate, type PathTemplate } from "./path-template.ts";
import type { PolicyMode } from "./policy-options.ts";
import { parseTextPattern } from "./text-pattern.ts";
import { buildTextTrie, collectValues, type TextTrie, type TrieEntry } from "./text-trie.ts";

/** All different path values of a set of policies, each with a number. */
export interface PathIndex {
  /** Values without a star, and those that end with one. */
  readonly forward: TextTrie;
  /** Values that begin with a star. */
  readonly backward: TextTrie;
  /** By the text before the first operator; a value of the trie is a place in `templates`. */
  readonly heads: TextTrie;
  readonly templates: readonly (readonly { readonly number: number; readonly template: PathTemplate }[])[];
}

/** Yields every few values. */
export function* buildPathIndex(values: Iterable<string>, mode: PolicyMode): Generator<void, PathIndex> {
  const forward: TrieEntry[] = [];
  const backward: TrieEntry[] = [];
  const templates = new Map<string, { number: number; template: PathTemplate }[]>();
  const seen = new Set<string>();
  for (const value of values) {
    if (seen.has(value)) continue;
    const number = seen.add(value).size;
    const pattern = parseTextPattern(value);
    if (isPathTemplate(value)) {
      const template = compilePathTemplate(value, mode === "istio");
      const head = template.literals[0] ?? "";
      const same = templates.get(head);
      if (same === undefined) templates.set(head, [{ number, template }]);
      else same.push({ number, template });
    } else if (pattern.form === "suffix") backward.push({ text: pattern.text, form: "affix", value: number });
    else if (pattern.form !== "any")
      forward.push({ text: pattern.text, form: pattern.form === "exact" ? "exact" : "affix", value: number });
    if ((number & 63) === 0) yield;
  }
  const heads = [...templates.keys()].map((text, value): TrieEntry => ({ text, form: "affix", value }));
  return {
    forward: yield* buildTextTrie(forward, false),
    backward: yield* buildTextTrie(backward, true),
    heads: yield* buildTextTrie(heads, false),
    templates: [...templates.values()],
  };
}

/** The numbers of the values that match the path. `*` is left out: it matches every path. */
function matchingValues(index: PathIndex, path: string): ReadonlySet<number> {
  const found = new Set([...collect(index.forward, path), ...collect(index.backward, path)]);
  for (const head of collect(index.heads, path))
    for (const { number, template } of index.templates[head] ?? [])
      if (matchesPathTemplate(template, path)) found.add(number);
  return found;
}

function collect(trie: TextTrie, path: string): readonly number[] {
  const values: number[] = [];
  const count = collectValues(trie, path, values, 0);
  return values.slice(0, count);
}

/** Whether some value matches one of the two paths and not the other. */
export function matchedDifferently(index: PathIndex, one: string, other: string): boolean {
  const left = matchingValues(index, one);
  const right = matchingValues(index, other);
  return left.symmetricDifference(right).size > 0;
}
