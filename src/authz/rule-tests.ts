import { addPattern, type BuildingMemory, numberOf, type PatternEntries, writeTries } from "./building-memory.ts";
import type { CompiledField, CompiledGroup, CompiledRule } from "./compiled-policy.ts";
import type { TextTest } from "./index-keys.ts";
import { isAsked, type KeyTable, type Shape } from "./rule-keys.ts";

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
export function* writeTests(
  askers: Askers,
  keys: KeyTable,
  shape: Shape,
  memory: BuildingMemory,
): Generator<void, void> {
  const { words } = memory;
  for (const some of askers.values()) {
    const [first] = some ?? [];
    if (some === undefined || first === undefined || !isTexts(first.rule, shape)) continue;
    // They ask the same, so one list is enough.
    const own = keys.get(first.rule);
    const isProved = (field: CompiledField): boolean => {
      const dimension = field.keys?.dimension ?? "";
      return first.hit.includes(dimension) && own?.get(dimension)?.proof === field;
    };
    const clauses: number[][] = [];
    for (const groups of clausesOf(first.rule)) {
      const clause = [groups.length];
      for (const group of groups) {
        const tests = yield* testsOf(groups.length === 1 ? group.filter((field) => !isProved(field)) : group, memory);
        clause.push(tests.length, ...tests);
      }
      clauses.push(clause);
    }
    const place = words.add(clauses.length, ...clauses.flat());
    for (const { at } of some) words.set(at, -place);
  }
}

/** Whether texts say all that the rule asks. */
function isTexts({ sources, operations, conditions, expression }: CompiledRule, shape: Shape): boolean {
  const asksTexts = (field: CompiledField): boolean => field.keys?.tests !== undefined && isAsked(field, shape);
  return expression === undefined && [...sources, ...operations, conditions].every((group) => group.every(asksTexts));
}

/** Of each, one group must hold. */
function clausesOf({ sources, operations, conditions }: CompiledRule): readonly (readonly CompiledGroup[])[] {
  const only = [sources, operations].flatMap((groups) => (groups.length === 1 ? groups : []));
  const several = [sources, operations].filter((groups) => groups.length > 1);
  return [[[...only.flat(), ...conditions]], ...several];
}

/** Places of the tests of some fields; less than zero: the test must fail. */
function* testsOf(group: CompiledGroup, memory: BuildingMemory): Generator<void, readonly number[]> {
  const places: number[] = [];
  for (const { keys, model } of group)
    for (const test of keys?.tests ?? []) {
      const place = yield* testOf(test, memory);
      places.push(model.negated ? -place : place);
    }
  return places;
}

/** Rules that ask the same share a test. */
function* testOf(test: readonly TextTest[], memory: BuildingMemory): Generator<void, number> {
  const key = JSON.stringify(test);
  const known = memory.tests.get(key);
  if (known !== undefined) return known;
  const parts: number[] = [];
  for (const { dimension, patterns } of test) {
    const entries: PatternEntries = { forward: [], backward: [] };
    for (const pattern of patterns) {
      if (pattern.form === "any") throw new TypeError("what fits everything is no key");
      addPattern(entries, pattern.form, pattern.text, 0);
    }
    const tries = yield* writeTries(entries, memory);
    parts.push(numberOf(dimension, memory), ...tries);
  }
  const place = memory.words.add(test.length, ...parts);
  memory.tests.set(key, place);
  return place;
}
