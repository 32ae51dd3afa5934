import { type Dimension, dimensionOf } from "./call-dimension.ts";
import type { CallView } from "./call-view.ts";
import { checkHolds, type RuleCheck, ruleCheck } from "./rule-check.ts";
import { fieldsOf, type RuleStore } from "./rule-store.ts";

/** What decides of a set of policies besides its rules: plain data, which threads share. */
export interface PackedMemory {
  /** Trees and lists, which name each other by their places. At 0 stands NO_RULE and 0: a leaf without rules. */
  readonly words: Int32Array;
  /** Names of the dimensions by number. */
  readonly dimensions: readonly string[];
  /** Where the checks stand: for each number a rule to which it belongs, and the place of a list of its fields that need no asking. */
  readonly checksAt: number;
  readonly checkCount: number;
}

/** The same in use. */
export interface PolicyMemory extends PackedMemory {
  readonly rules: RuleStore;
  readonly lookups: readonly Dimension[];
  /** Those that were asked so far. */
  readonly checks: (RuleCheck | undefined)[];
}

/** Comes after every rule. */
export const NO_RULE = 0x3fffffff;
/** The check of which nothing is left to ask. */
export const NO_CHECK = 0;

export function openMemory(packed: PackedMemory, rules: RuleStore): PolicyMemory {
  return {
    ...packed,
    rules,
    lookups: packed.dimensions.map(dimensionOf),
    checks: Array.from({ length: packed.checkCount }, () => undefined),
  };
}

/** Whether what is left to ask of a rule holds. */
export function holds(memory: PolicyMemory, check: number, call: CallView): boolean {
  return check === NO_CHECK || checkHolds(memory.checks[check] ?? makeCheck(memory, check), call);
}

function makeCheck(memory: PolicyMemory, check: number): RuleCheck {
  const { words, checksAt, rules } = memory;
  if (check >= memory.checkCount) throw new TypeError(`there is no check ${check}`);
  const rule = rules.ruleAt(words[checksAt + 2 * check] ?? NO_RULE);
  const fields = fieldsOf(rule);
  const proved = listAt(words, words[checksAt + 2 * check + 1] ?? 0).map((number) => fields[number]);
  const made = ruleCheck(rule, new Set(proved.filter((field) => field !== undefined)));
  memory.checks[check] = made;
  return made;
}

/** A list of numbers: how many, and they. */
export function listAt(words: Int32Array, place: number): readonly number[] {
  return [...words.subarray(place + 1, place + 1 + (words[place] ?? 0))];
}
