import type { TrieEntry } from "./build-text-trie.ts";
import { type BuildingMemory, numberOf, trieOf } from "./building-memory.ts";
import type { CompiledRule } from "./compiled-policy.ts";
import { checkKey, ruleCheck } from "./rule-check.ts";
import type { KeyTable, RuleKeys } from "./rule-keys.ts";
import type { TextPattern } from "./text-pattern.ts";

/** A pair of a rule and its check. */
export interface Asker {
  readonly rule: CompiledRule;
  /** Place of the check's number. */
  readonly at: number;
  /** Dimensions that need no asking. */
  readonly hit: readonly string[];
}

/** By number of a check the pairs with which one rule asks it; undefined where several do, which then share what they know of it. */
export type Askers = Map<number, readonly Asker[] | undefined>;

/** Notes a pair that was written. */
export function noteAsker(askers: Askers, check: number, asker: Asker): void {
  const known = askers.get(check);
  if (known === undefined && askers.has(check)) return;
  const isShared = known !== undefined && known[0]?.rule !== asker.rule;
  askers.set(check, isShared ? undefined : [...(known ?? []), asker]);
}

/** Writes what only one rule asks beside the rule, where it is nothing but texts: a decision among many such rules then waits for the memory of the
 *  words alone, and never compiles the rule. */
export function* writeTests(askers: Askers, keys: KeyTable, memory: BuildingMemory): Generator<void, void> {
  for (const some of askers.values()) {
    for (const { rule, at, hit } of some ?? []) {
      const own = keys.get(rule) ?? new Map<string, RuleKeys>();
      const proofs = [...own.values()].map(({ proof }) => proof).filter((field) => field !== undefined);
      if (checkKey(ruleCheck(rule, new Set(proofs))) !== "") continue;
      const tests: number[] = [];
      for (const [dimension, { patterns, proof }] of own)
        if (proof !== undefined && !hit.includes(dimension)) tests.push(yield* testOf(dimension, patterns, memory));
      memory.words.set(at, -memory.words.add(tests.length, ...tests));
    }
  }
}

function* testOf(dimension: string, patterns: readonly TextPattern[], memory: BuildingMemory): Generator<void, number> {
  const key = JSON.stringify([dimension, patterns]);
  const known = memory.tests.get(key);
  if (known !== undefined) return known;
  const entries = { forward: [] as TrieEntry[], backward: [] as TrieEntry[] };
  for (const pattern of patterns) {
    if (pattern.form === "any") throw new TypeError("what fits everything is no key");
    const form = pattern.form === "exact" ? pattern.form : "affix";
    entries[pattern.form === "suffix" ? "backward" : "forward"].push({ text: pattern.text, form, value: 0 });
  }
  const forward = yield* trieOf(entries.forward, false, memory);
  const backward = yield* trieOf(entries.backward, true, memory);
  const test = memory.words.add(numberOf(dimension, memory), forward, backward);
  memory.tests.set(key, test);
  return test;
}
