import type { FieldGroup, FieldModel, RuleModel } from "../authz/policy-model.ts";
import { coverPattern, coverValues } from "../authz/rule-cover.ts";
import type { TextPattern } from "../authz/text-pattern.ts";

/** Finds the rules that may match all that another one matches, without asking each of all others. What it leaves out covers nothing
 *  (`ruleCovers`); what it finds must still be asked. */
export interface CoverIndex<T> {
  /** Lists that each are in the order of the entries; one entry may be in several. */
  candidates(narrow: RuleModel): Generator<readonly T[], void>;
}

/** A rule covers another only if each of its parts does: sources, operations, conditions. A part is found by one key. */
const PARTS = 3;
/** What is found by every rule: a part that asks nothing, or that no key can stand for. */
const ALWAYS = "";
/** Places of one rule. Beyond it its longest part has no key. */
const MAX_PLACES = 4096;

type Level<T> = Map<string, Level<T> | T[]>;

/** An index over `all`. A rule is placed by the values that the fewest rules have, so that rules which share most of their fields are still
 *  told apart by the rest. */
export function coverIndex<T>(
  all: readonly T[],
  ruleOf: (entry: T) => RuleModel,
  home: readonly string[],
): CoverIndex<T> {
  const counts = countValues(all.map(ruleOf), home);
  const root: Level<T> = new Map();
  const lengths: Lengths = new Map();
  for (const entry of all) {
    const keys = keysOf(ruleOf(entry), counts, home);
    for (const key of keys.flat()) noteLength(lengths, key);
    place(root, keys, entry);
  }
  return {
    *candidates(narrow) {
      yield* find(
        root,
        partsOf(narrow).map((groups) => lookups(groups, lengths, home)),
      );
    },
  };
}

function partsOf({ sources, operations, conditions }: RuleModel): readonly (readonly FieldGroup[])[] {
  return [sources, operations, conditions.length === 0 ? [] : [conditions]];
}

/** A value that a rule is placed by. */
interface Key {
  readonly dimension: string;
  readonly pattern: TextPattern | undefined;
  readonly text: string;
}

function dimensionOf({ kind, header, claim }: FieldModel): string {
  return `${kind} ${header} ${(claim ?? []).join("][")}`;
}

/** Values that cover each other have one text. */
function keyText(dimension: string, pattern: TextPattern | undefined, value: string): string {
  if (pattern === undefined) return `${dimension}\nitself\n${value}`;
  return `${dimension}\n${pattern.form}\n${pattern.form === "any" ? "" : pattern.text}`;
}

function keysOfValues(field: FieldModel, values: readonly string[], home: readonly string[]): readonly Key[] {
  const dimension = dimensionOf(field);
  return values
    .flatMap((value) => coverValues(field.kind, value, home))
    .map((value) => {
      const pattern = coverPattern(field.kind, value);
      return { dimension, pattern, text: keyText(dimension, pattern, value) };
    });
}

/** In how many places each value stands. */
function countValues(rules: readonly RuleModel[], home: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const rule of rules)
    for (const field of partsOf(rule).flat(2))
      for (const { text } of field.negated ? negatedKeys(field, home) : keysOfValues(field, field.values, home))
        counts.set(text, (counts.get(text) ?? 0) + 1);
  return counts;
}

/** Where a rule is placed: one list of keys for each part. */
function keysOf(
  rule: RuleModel,
  counts: ReadonlyMap<string, number>,
  home: readonly string[],
): readonly (readonly Key[])[] {
  const keys = partsOf(rule).map((groups) => groups.flatMap((group) => rarest(group, counts, home)));
  while (keys.reduce((places, { length }) => places * Math.max(1, length), 1) > MAX_PLACES) {
    const longest = keys.reduce((most, { length }, part) => (length > (keys[most]?.length ?? 0) ? part : most), 0);
    keys[longest] = [];
  }
  return keys;
}

const UNKEYED: readonly Key[] = [{ dimension: "", pattern: undefined, text: ALWAYS }];

/** The keys of the field whose values the fewest rules have. */
function rarest(group: FieldGroup, counts: ReadonlyMap<string, number>, home: readonly string[]): readonly Key[] {
  let best = UNKEYED;
  let least = Number.POSITIVE_INFINITY;
  for (const field of group) {
    const keys = field.negated ? negatedKeys(field, home).slice(0, 1) : keysOfValues(field, field.values, home);
    const cost = keys.reduce((sum, { text }) => sum + (counts.get(text) ?? 0), 0);
    if (cost >= least) continue;
    best = field.negated ? [...keys, anyNegated(field)] : keys;
    least = cost;
  }
  return best;
}

/** A negation is wider, the less it names: whatever it covers takes away each of its values, so one of them tells. */
function negatedKeys(field: FieldModel, home: readonly string[]): readonly Key[] {
  return keysOfValues(field, field.values, home).map((key) => ({ ...key, dimension: "", text: `not ${key.text}` }));
}

/** For those that take a value away without naming it. */
function anyNegated(field: FieldModel): Key {
  return { dimension: "", pattern: undefined, text: `not ${dimensionOf(field)}` };
}

function place<T>(root: Level<T>, parts: readonly (readonly Key[])[], entry: T): void {
  let levels: Level<T>[] = [root];
  for (const [part, keys] of parts.entries()) {
    const texts = keys.length === 0 ? [ALWAYS] : keys.map(({ text }) => text);
    const next: Level<T>[] = [];
    for (const level of levels)
      for (const text of texts) {
        const known = level.get(text);
        if (part === PARTS - 1) {
          if (Array.isArray(known)) known.push(entry);
          else level.set(text, [entry]);
        } else if (known instanceof Map) next.push(known);
        else {
          const made: Level<T> = new Map();
          level.set(text, made);
          next.push(made);
        }
      }
    levels = next;
  }
}

/** Of each dimension, how long the texts before or behind a star are. */
type Lengths = Map<string, { readonly prefixes: Set<number>; readonly suffixes: Set<number> }>;

function noteLength(lengths: Lengths, { dimension, pattern }: Key): void {
  if (pattern?.form !== "prefix" && pattern?.form !== "suffix") return;
  let own = lengths.get(dimension);
  if (own === undefined) {
    own = { prefixes: new Set(), suffixes: new Set() };
    lengths.set(dimension, own);
  }
  (pattern.form === "prefix" ? own.prefixes : own.suffixes).add(pattern.text.length);
}

/** Every key that a rule which covers these alternatives may be placed by. All of them must be covered, so the first one tells. */
function lookups([first]: readonly FieldGroup[], lengths: Lengths, home: readonly string[]): readonly string[] {
  const found = new Set([ALWAYS]);
  for (const field of first ?? []) {
    if (field.negated) {
      const own = negatedKeys(field, home);
      const isExact = own.every(({ pattern }) => pattern === undefined || pattern.form === "exact");
      for (const { text } of isExact ? own : [anyNegated(field)]) found.add(text);
      continue;
    }
    const [key] = keysOfValues(field, field.values.slice(0, 1), home);
    if (key === undefined) continue;
    const { dimension, pattern, text: own } = key;
    const add = (wide: TextPattern): void => void found.add(keyText(dimension, wide, ""));
    found.add(own);
    add({ form: "any" });
    const known = lengths.get(dimension);
    if (known === undefined || pattern === undefined || pattern.form === "any") continue;
    const { text } = pattern;
    if (pattern.form !== "suffix")
      for (const length of known.prefixes)
        if (length <= text.length) add({ form: "prefix", text: text.slice(0, length) });
    if (pattern.form !== "prefix")
      for (const length of known.suffixes)
        if (length <= text.length) add({ form: "suffix", text: text.slice(text.length - length) });
  }
  return [...found];
}

function* find<T>(
  level: Level<T>,
  [keys = [], ...rest]: readonly (readonly string[])[],
): Generator<readonly T[], void> {
  for (const key of keys) {
    const found = level.get(key);
    if (found instanceof Map) yield* find(found, rest);
    else if (found !== undefined) yield found;
  }
}
