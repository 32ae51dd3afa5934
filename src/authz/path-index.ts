import { buildTextTrie, type TrieEntry } from "./build-text-trie.ts";
import type { GrowingWords } from "./growing-words.ts";
import { type PackedTexts, packTexts, textAt } from "./packed-texts.ts";
import { compilePathTemplate, isPathTemplate, matchesPathTemplate, type PathTemplate } from "./path-template.ts";
import type { PolicyMode } from "./policy-options.ts";
import { parseTextPattern } from "./text-pattern.ts";
import { collectValues } from "./text-trie.ts";

/** All different path values of a set of policies, each with a number: tries in the memory of the set. */
export interface PathIndex {
  /** Values without a star, and those that end with one. */
  readonly forward: number;
  /** Values that begin with a star. */
  readonly backward: number;
  /** By the text before the first operator; a value of the trie is the place of a list of templates. */
  readonly heads: number;
  /** A template of the list is a place here, and is known as a value by the number below zero that begins with -1. */
  readonly templates: PackedTexts;
  /** An expression looks at paths as well: of what it makes of one, nothing is known before it is asked. */
  readonly isAsked: boolean;
}

/** Yields every few values. */
export function* buildPathIndex(
  values: Iterable<string>,
  words: GrowingWords,
  isAsked: boolean,
): Generator<void, PathIndex> {
  const forward: TrieEntry[] = [];
  const backward: TrieEntry[] = [];
  const templates: string[] = [];
  const byHead = new Map<string, number[]>();
  const seen = new Set<string>();
  for (const value of values) {
    if (seen.has(value)) continue;
    const number = seen.add(value).size;
    const pattern = parseTextPattern(value);
    if (isPathTemplate(value)) {
      const head = compilePathTemplate(value, false).literals[0] ?? "";
      const same = byHead.get(head);
      const place = templates.push(value) - 1;
      if (same === undefined) byHead.set(head, [place]);
      else same.push(place);
    } else if (pattern.form === "suffix") backward.push({ text: pattern.text, form: "affix", value: number });
    else if (pattern.form !== "any")
      forward.push({ text: pattern.text, form: pattern.form === "exact" ? "exact" : "affix", value: number });
    if ((number & 63) === 0) yield;
  }
  const heads = [...byHead].map(
    ([text, some]): TrieEntry => ({
      text,
      form: "affix",
      value: words.add(some.length, ...some),
    }),
  );
  return {
    forward: yield* buildTextTrie(forward, false, words),
    backward: yield* buildTextTrie(backward, true, words),
    heads: yield* buildTextTrie(heads, false, words),
    templates: packTexts(templates),
    isAsked,
  };
}

/** The numbers of the values that match the path. `*` is left out: it matches every path. */
function matchingValues(index: PathIndex, words: Int32Array, mode: PolicyMode, path: string): ReadonlySet<number> {
  const found = new Set([...collect(words, index.forward, false, path), ...collect(words, index.backward, true, path)]);
  for (const list of collect(words, index.heads, false, path)) {
    for (let i = 1; i <= (words[list] ?? 0); i++) {
      const place = words[list + i] ?? 0;
      if (matchesPathTemplate(templateAt(index, place, mode), path)) found.add(-1 - place);
    }
  }
  return found;
}

/** Those that were asked so far. */
const compiled = new WeakMap<PackedTexts, (PathTemplate | undefined)[]>();

function templateAt({ templates }: PathIndex, place: number, mode: PolicyMode): PathTemplate {
  let known = compiled.get(templates);
  if (known === undefined) {
    known = [];
    compiled.set(templates, known);
  }
  const template = known[place] ?? compilePathTemplate(textAt(templates, place), mode === "istio");
  known[place] = template;
  return template;
}

function collect(words: Int32Array, root: number, fromEnd: boolean, path: string): readonly number[] {
  const values: number[] = [];
  const count = collectValues(words, root, fromEnd, path, values, 0);
  return values.slice(0, count);
}

/** Whether some value matches one of the two paths and not the other, or an expression might. */
export function matchedDifferently(
  index: PathIndex,
  words: Int32Array,
  mode: PolicyMode,
  one: string,
  other: string,
): boolean {
  if (one === other || index.isAsked) return one !== other;
  const left = matchingValues(index, words, mode, one);
  const right = matchingValues(index, words, mode, other);
  return left.symmetricDifference(right).size > 0;
}
