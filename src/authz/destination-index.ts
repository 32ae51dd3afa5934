import { addPattern, type BuildingMemory, listOf, type PatternEntries, writeTries } from "./building-memory.ts";
import { collectTexts, dimensionOf } from "./call-dimension.ts";
import type { CallView } from "./call-view.ts";
import type { CompiledRule } from "./compiled-policy.ts";
import { listAt, type PolicyMemory } from "./policy-memory.ts";
import { ruleKeys } from "./rule-keys.ts";
import type { TextPattern } from "./text-pattern.ts";
import { collectValues } from "./text-trie.ts";

/** Rules about outbound calls by where these go, in the memory of their set: plain data. */
export interface DestinationIndex {
  /** For each of DIMENSIONS the places of its tries, or 0; their values are places of lists of rules. */
  readonly tries: readonly (readonly [forward: number, backward: number])[];
  /** Places of lists of rules: those that are found by principals, and those that are found by nothing. */
  readonly byPrincipal: number;
  readonly others: number;
}

const PRINCIPAL = "destinationPrincipal";
/** What a rule is found by: the first of these that it says something about. */
const DIMENSIONS = ["hostName", "hostAndPort", "host", PRINCIPAL, "port", "destinationIp"].map(dimensionOf);
/** Of calls that have all of these. */
const SHAPE = { isHttp: true, hasIdentity: true, isOpen: false };

/** Builds it, yielding often. */
export function* buildDestinationIndex(
  rules: readonly CompiledRule[],
  memory: BuildingMemory,
): Generator<void, DestinationIndex> {
  const tables = DIMENSIONS.map(() => new Map<string, { readonly pattern: TextPattern; readonly rules: number[] }>());
  const byPrincipal: number[] = [];
  const others: number[] = [];
  for (const [i, rule] of rules.entries()) {
    const keys = ruleKeys(rule, SHAPE);
    const found = DIMENSIONS.findIndex(({ kind }) => keys.has(kind));
    const table = tables[found];
    if (table === undefined) others.push(rule.order);
    else if (DIMENSIONS[found]?.kind === PRINCIPAL) byPrincipal.push(rule.order);
    for (const pattern of keys.get(DIMENSIONS[found]?.kind ?? "")?.patterns ?? []) {
      const key = JSON.stringify(pattern);
      const known = table?.get(key);
      if (known === undefined) table?.set(key, { pattern, rules: [rule.order] });
      else if (known.rules.at(-1) !== rule.order) known.rules.push(rule.order);
    }
    if ((i & 31) === 31) yield;
  }
  const tries: (readonly [number, number])[] = [];
  for (const table of tables) {
    const entries: PatternEntries = { forward: [], backward: [] };
    for (const { pattern, rules: some } of table.values()) {
      if (pattern.form === "any") throw new TypeError("what fits everything is no key");
      addPattern(entries, pattern.form, pattern.text, listOf(some, memory));
    }
    tries.push(yield* writeTries(entries, memory));
  }
  return { tries, byPrincipal: listOf(byPrincipal, memory), others: listOf(others, memory) };
}

/** Numbers of the rules that may be about a call's destination, in the order of the files: all that match it are among them. */
export function rulesForDestination(
  index: DestinationIndex,
  { words }: PolicyMemory,
  call: CallView,
): readonly number[] {
  const found = new Set(listAt(words, index.others));
  const addAll = (place: number): void => {
    for (const rule of listAt(words, place)) found.add(rule);
  };
  // one that may prove any of a beginning, or need not prove any, has no text to be found by
  if (call.isOpen || call.destination === "") addAll(index.byPrincipal);
  const texts: string[] = [];
  const places: number[] = [];
  for (const [i, roots] of index.tries.entries()) {
    const dimension = DIMENSIONS[i];
    if (dimension === undefined) throw new TypeError("a trie has no dimension");
    const textCount = collectTexts(dimension, call, texts, 0);
    for (const [side, root] of roots.entries()) {
      if (root === 0) continue;
      for (const text of texts.slice(0, textCount)) {
        const count = collectValues(words, root, side === 1, text, places, 0);
        for (const place of places.slice(0, count)) addAll(place);
      }
    }
  }
  return [...found].toSorted((a, b) => a - b);
}
