import { collectTexts } from "./call-dimension.ts";
import type { CallView } from "./call-view.ts";
import type { CompiledRule } from "./compiled-policy.ts";
import { holds, NO_RULE, type PolicyMemory } from "./policy-memory.ts";
import { collectValues, nearestValue } from "./text-trie.ts";

/** Where an index stands in the memory of its set: plain data. */
export interface IndexLayout {
  /** How many rules it finds, and the place of the first: their numbers, in the order of the files. */
  readonly ruleCount: number;
  readonly rulesAt: number;
  /** The node with which a lookup begins, for each shape of call. */
  readonly roots: readonly number[];
  /** For each shape the place of a list of branches, side by side: rules that have something in common with a call. Only where somebody asks
   *  for the nearest rule. */
  readonly likely: readonly number[];
}

/** Finds the first rule that matches a call without asking every rule. */
export interface RuleIndex extends IndexLayout {
  readonly memory: PolicyMemory;
}

// A node is rules that are asked one after the other, or a split by one dimension of the call.
/** The first rule below: when a match before it is known, nothing here is of interest. */
export const FIRST = 0;
/** How many pairs of a rule and its check follow; IS_SPLIT: it is a split. A check is its number, or, less than zero, the place of a list of tests. */
export const PAIRS = 1;
export const LEAF_FIELDS = 2;
export const IS_SPLIT = -1;
/** Number of the dimension. */
export const DIMENSION = 2;
/** Tries, or 0. */
export const FORWARD = 3;
export const BACKWARD = 4;
/** The node with the rules that say nothing about the dimension. */
export const REST = 5;

// What a value of a split's tries is, by its lowest two bits; what the others are:
/** A rule of which nothing is left to ask. */
export const IS_RULE = 0;
/** The place of a node. */
export const IS_NODE = 1;
/** The place of a pair of a rule and its check: side by side with others, as a decision among many rules takes as long as memory does. */
export const IS_PAIR = 2;
export const VALUE_BITS = 2;

// A list of tests: how many clauses, and of each how many alternatives, and of each how many tests and their places. In each clause an alternative
// must hold, and in that each test. A place less than zero is that of a test that must fail. A test: how many parts, one of which must hold, and
// of each a dimension and tries or 0, whose values say nothing: the call has a text that they hold.
const PART_FIELDS = 3;

// A branch of likely rules: its dimension and tries. Their values are places of lists of rules.
export const BRANCH_FIELDS = 3;

/** Which calls a root is for. */
function shapeOf(call: CallView, direction: "inbound" | "outbound"): number {
  const http = call.request === undefined ? 0 : 3;
  if (direction === "inbound") return http + (call.connection.hasPeer ? 1 : 0);
  return http + (call.destination === "" ? 0 : call.isOpen ? 2 : 1);
}

// What a search has found on its way, as a stack: a decision allocates nothing. Decisions never overlap, for nothing in them waits.
const texts: string[] = [];
const values: number[] = [];
let textCount = 0;
let valueCount = 0;

/** The number of the matching rule that stands first in the files, or -1. */
export function findRule(index: RuleIndex, call: CallView, direction: "inbound" | "outbound"): number {
  if (index.ruleCount === 0) return -1;
  const root = index.roots[shapeOf(call, direction)];
  if (root === undefined) return -1;
  textCount = 0;
  valueCount = 0;
  const found = search(index.memory, root, call, NO_RULE);
  return found === NO_RULE ? -1 : found;
}

/** `found` is the best rule so far: only rules before it are still of interest. */
function search(memory: PolicyMemory, node: number, call: CallView, found: number): number {
  const { words } = memory;
  if ((words[node + FIRST] ?? NO_RULE) >= found) return found;
  const pairs = words[node + PAIRS] ?? 0;
  if (pairs === IS_SPLIT) return searchSplit(memory, node, call, found);
  for (let i = 0; i < pairs; i++) {
    const at = node + LEAF_FIELDS + 2 * i;
    const rule = words[at] ?? NO_RULE;
    if (rule >= found) return found;
    if (pairHolds(memory, words[at + 1] ?? NO_RULE, call)) return rule;
  }
  return found;
}

function searchSplit(memory: PolicyMemory, node: number, call: CallView, start: number): number {
  const { words, lookups } = memory;
  let found = search(memory, words[node + REST] ?? 0, call, start);
  const dimension = lookups[words[node + DIMENSION] ?? -1];
  if (dimension === undefined) return found;
  const forward = words[node + FORWARD] ?? 0;
  const backward = words[node + BACKWARD] ?? 0;
  const firstText = textCount;
  const firstValue = valueCount;
  textCount = collectTexts(dimension, call, texts, textCount);
  for (let i = firstText; i < textCount; i++) {
    const text = texts[i] ?? "";
    if (forward !== 0) valueCount = collectValues(words, forward, false, text, values, valueCount);
    if (backward !== 0) valueCount = collectValues(words, backward, true, text, values, valueCount);
  }
  textCount = firstText;
  const end = valueCount;
  for (let i = firstValue; i < end; i++) {
    const value = values[i] ?? 0;
    const rest = value >> VALUE_BITS;
    const kind = value & ((1 << VALUE_BITS) - 1);
    if (kind === IS_RULE) {
      if (rest < found) found = rest;
    } else if (kind === IS_NODE) found = search(memory, rest, call, found);
    else {
      const rule = words[rest] ?? NO_RULE;
      if (rule < found && pairHolds(memory, words[rest + 1] ?? NO_RULE, call)) found = rule;
    }
  }
  valueCount = firstValue;
  return found;
}

function pairHolds(memory: PolicyMemory, check: number, call: CallView): boolean {
  return check < 0 ? clausesHold(memory, -check, call) : holds(memory, check, call);
}

function clausesHold(memory: PolicyMemory, place: number, call: CallView): boolean {
  const { words } = memory;
  const clauses = words[place] ?? 0;
  let at = place + 1;
  for (let clause = 0; clause < clauses; clause++) {
    let isFound = false;
    for (let left = words[at++] ?? 0; left > 0; left--) {
      const count = words[at++] ?? 0;
      isFound ||= testsHold(memory, at, count, call);
      at += count;
    }
    if (!isFound) return false;
  }
  return clauses > 0;
}

function testsHold(memory: PolicyMemory, first: number, count: number, call: CallView): boolean {
  for (let at = first; at < first + count; at++) {
    const test = memory.words[at] ?? 0;
    if (testHolds(memory, Math.abs(test), call) !== test > 0) return false;
  }
  return true;
}

function testHolds({ words, lookups }: PolicyMemory, test: number, call: CallView): boolean {
  const end = test + 1 + PART_FIELDS * (words[test] ?? 0);
  for (let part = test + 1; part < end; part += PART_FIELDS) {
    const dimension = lookups[words[part] ?? -1];
    if (dimension === undefined) throw new TypeError("a test has no dimension");
    const forward = words[part + 1] ?? 0;
    const backward = words[part + 2] ?? 0;
    const last = collectTexts(dimension, call, texts, textCount);
    for (let i = textCount; i < last; i++) {
      const text = texts[i] ?? "";
      if (forward !== 0 && collectValues(words, forward, false, text, values, valueCount) > valueCount) return true;
      if (backward !== 0 && collectValues(words, backward, true, text, values, valueCount) > valueCount) return true;
    }
  }
  return false;
}

/** Numbers of rules that have a text in common with a call that no rule matches, or nearly; at most `limit`, each once. */
export function likelyRules(
  index: RuleIndex,
  call: CallView,
  direction: "inbound" | "outbound",
  limit: number,
): readonly number[] {
  const { words, lookups } = index.memory;
  const found = new Set<number>();
  const asked: string[] = [];
  const fits: number[] = [];
  const list = index.likely[shapeOf(call, direction)] ?? -1;
  for (let branch = 0; branch < (words[list] ?? 0); branch++) {
    const at = list + 1 + branch * BRANCH_FIELDS;
    const dimension = lookups[words[at] ?? -1];
    if (dimension === undefined) continue;
    const count = collectTexts(dimension, call, asked, 0);
    for (const text of asked.slice(0, count)) {
      let end = 0;
      for (const fromEnd of [false, true]) {
        const root = words[at + (fromEnd ? 2 : 1)] ?? 0;
        if (root === 0) continue;
        end = collectValues(words, root, fromEnd, text, fits, end);
        const near = nearestValue(words, root, fromEnd, text);
        if (near >= 0) fits[end++] = near;
      }
      for (const some of fits.slice(0, end)) {
        for (let i = 1; i <= (words[some] ?? 0); i++) {
          if (found.size >= limit) return [...found];
          found.add(words[some + i] ?? NO_RULE);
        }
      }
    }
  }
  return [...found];
}

/** The rules of an index, in the order of the files, `most` of them. */
export function rulesOf({ memory, rulesAt, ruleCount }: RuleIndex, most = ruleCount): readonly CompiledRule[] {
  const numbers = memory.words.subarray(rulesAt, rulesAt + Math.min(most, ruleCount));
  return Array.from(numbers, (number) => memory.rules.ruleAt(number));
}
