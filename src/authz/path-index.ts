import { buildTextTrie, type TrieEntry } from "./build-text-trie.ts";
import type { GrowingWords } from "./growing-words.ts";
import { templatePattern } from "./index-keys.ts";
import { type PackedTexts, packTexts, textAt } from "./packed-texts.ts";
import { compilePathTemplate, isPathTemplate, matchesPathTemplate, type PathTemplate } from "./path-template.ts";
import type { PolicyMode } from "./policy-options.ts";
import type { TextPattern } from "./text-pattern.ts";
import { collectValues, SEGMENT } from "./text-trie.ts";

/** All different path values of a set of policies, each with a number: tries in the memory of the set, whose values are places of lists. In a list stand a
 *  value's number, or less than zero the template that is to be asked as well: -1 less its place. */
export interface PathIndex {
  /** Values that are looked up from their beginning, and from their end. */
  readonly forward: number;
  readonly backward: number;
  readonly templates: PackedTexts;
  /** An expression looks at paths as well: of what it makes of one, nothing is known before it is asked. */
  readonly isAsked: boolean;
  /** Something looks at paths: an expression, or a value that does not match each of them. */
  readonly isRead: boolean;
}

/** Yields every few values. */
export function* buildPathIndex(
  values: Iterable<string>,
  words: GrowingWords,
  isAsked: boolean,
): Generator<void, PathIndex> {
  const templates: string[] = [];
  const seen = new Set<string>();
  const patterns = { forward: new Map<string, Listed>(), backward: new Map<string, Listed>() };
  for (const value of values) {
    // No path has the sign for a segment.
    if (seen.has(value) || value.includes(SEGMENT)) continue;
    const number = seen.add(value).size;
    if ((number & 63) === 0) yield;
    const pattern = templatePattern(value);
    if (pattern.form === "any") continue;
    const listed = isPathTemplate(value) ? -templates.push(value) : number;
    const some = pattern.form === "suffix" ? patterns.backward : patterns.forward;
    const key = `${pattern.form} ${pattern.text}`;
    const same = some.get(key);
    if (same === undefined) some.set(key, { pattern, numbers: [listed] });
    else same.numbers.push(listed);
  }
  return {
    forward: yield* buildTextTrie(entriesOf(patterns.forward, words), false, words),
    backward: yield* buildTextTrie(entriesOf(patterns.backward, words), true, words),
    templates: packTexts(templates),
    isAsked,
    isRead: isAsked || patterns.forward.size + patterns.backward.size > 0,
  };
}

interface Listed {
  readonly pattern: Exclude<TextPattern, { readonly form: "any" }>;
  readonly numbers: number[];
}

function entriesOf(patterns: ReadonlyMap<string, Listed>, words: GrowingWords): readonly TrieEntry[] {
  return [...patterns.values()].map(({ pattern: { form, text }, numbers }) => {
    const value = words.add(numbers.length, ...numbers);
    return { text, form: form === "exact" ? form : "affix", value };
  });
}

/** The values that match the path. `*` is left out: it matches every path. */
function matchingValues(index: PathIndex, words: Int32Array, mode: PolicyMode, path: string): ReadonlySet<number> {
  const found = new Set<number>();
  for (const list of [...collect(words, index.forward, false, path), ...collect(words, index.backward, true, path)]) {
    for (let i = 1; i <= (words[list] ?? 0); i++) {
      const listed = words[list + i] ?? 0;
      if (listed > 0 || matchesPathTemplate(templateAt(index, -1 - listed, mode), path)) found.add(listed);
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

/** Whether some value matches the path and not one of the others, or the other way round, or an expression might. */
export function matchedDifferently(
  index: PathIndex,
  words: Int32Array,
  mode: PolicyMode,
  path: string,
  others: readonly string[],
): boolean {
  const different = others.filter((other) => other !== path);
  if (different.length === 0 || index.isAsked) return different.length > 0;
  const matching = matchingValues(index, words, mode, path);
  return different.some((other) => matching.symmetricDifference(matchingValues(index, words, mode, other)).size > 0);
}
