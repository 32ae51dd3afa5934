import { buildTextTrie, type TrieEntry } from "./build-text-trie.ts";
import type { GrowingWords } from "./growing-words.ts";
import { NO_CHECK, NO_RULE, type PackedMemory } from "./policy-memory.ts";
import type { TextPattern } from "./text-pattern.ts";

/** A leaf without rules stands at the beginning of the memory. */
export const NOTHING = 0;

/** The memory of a set while its indexes are built. */
export interface BuildingMemory {
  readonly words: GrowingWords;
  /** Numbers of dimensions by name. */
  readonly dimensions: Map<string, number>;
  /** Numbers of checks by what they ask. */
  readonly checks: Map<string, number>;
  /** For each check a rule, and a list of fields. */
  readonly checkPairs: number[];
  /** Places of lists by what is in them. */
  readonly lists: Map<string, number>;
  /** Places of tests by what they ask. */
  readonly tests: Map<string, number>;
}

export function buildingMemory(words: GrowingWords): BuildingMemory {
  words.add(NO_RULE, 0);
  const memory = {
    words,
    dimensions: new Map(),
    checks: new Map(),
    checkPairs: [],
    lists: new Map(),
    tests: new Map(),
  };
  // NO_CHECK, of which nothing needs to be known.
  memory.checks.set("", NO_CHECK);
  return { ...memory, checkPairs: [NO_RULE, listOf([], memory)] };
}

/** The finished memory. Nothing may be built in it any more. */
export function takeMemory({ words, dimensions, checkPairs }: BuildingMemory): PackedMemory {
  const checksAt = words.length;
  for (const number of checkPairs) words.add(number);
  return { words: words.take(), dimensions: [...dimensions.keys()], checksAt, checkCount: checkPairs.length / 2 };
}

/** Writes a list of numbers, which every list of the same shares, and returns its place. */
export function listOf(numbers: readonly number[], { words, lists }: Pick<BuildingMemory, "words" | "lists">): number {
  const key = numbers.join();
  const place = lists.get(key) ?? words.add(numbers.length, ...numbers);
  lists.set(key, place);
  return place;
}

/** The number of a dimension. */
export function numberOf(dimension: string, { dimensions }: BuildingMemory): number {
  const number = dimensions.get(dimension) ?? dimensions.size;
  dimensions.set(dimension, number);
  return number;
}

/** Patterns with their values, on the way into tries. */
export interface PatternEntries {
  /** Exact texts and beginnings. */
  readonly forward: TrieEntry[];
  /** Ends. */
  readonly backward: TrieEntry[];
}

export function addPattern(
  { forward, backward }: PatternEntries,
  form: PatternForm,
  text: string,
  value: number,
): void {
  (form === "suffix" ? backward : forward).push({ text, form: form === "exact" ? form : "affix", value });
}

type PatternForm = Exclude<TextPattern["form"], "any">;

/** Writes the tries of some patterns and returns the places of both; NOTHING where one would have no entries. */
export function* writeTries(
  { forward, backward }: PatternEntries,
  { words }: BuildingMemory,
): Generator<void, readonly [forward: number, backward: number]> {
  return [
    forward.length === 0 ? NOTHING : yield* buildTextTrie(forward, false, words),
    backward.length === 0 ? NOTHING : yield* buildTextTrie(backward, true, words),
  ];
}
