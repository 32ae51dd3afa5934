import { addPattern, type BuildingMemory, listOf, type PatternEntries, writeTries } from "./building-memory.ts";
import { collectTexts, dimensionOf } from "./call-dimension.ts";
import type { CallView } from "./call-view.ts";
import type { CompiledRule } from "./compiled-policy.ts";
import type { PolicyMemory } from "./policy-memory.ts";
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

/** The number of the first rule, in the order of the files, that may be about a call's destination and that `fits`: all that match the destination
 *  are asked about, in no order, until one fits and none before it can. undefined: there is none. */
export function firstForDestination(
  index: DestinationIndex,
  { words }: PolicyMemory,
  call: CallView,
  fits: (rule: number) => boolean,
): number | undefined {
  let first = firstIn(words, index.others, Number.POSITIVE_INFINITY, fits);
  // one that may prove any of a beginning, or need not prove any, has no text to be found by
  if (call.isOpen || call.destination === "") first = firstIn(words, index.byPrincipal, first, fits);
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
        for (const place of places.slice(0, count)) first = firstIn(words, place, first, fits);
      }
    }
  }
  return Number.isFinite(first) ? first : undefined;
}

/** The first rule of a list that fits, if it comes before `limit`; else `limit`. Lists are in the order of the files, and most end at once. */
function firstIn(words: Int32Array, place: number, limit: number, fits: (rule: number) => boolean): number {
  const end = place + (words[place] ?? 0);
  for (let i = place + 1; i <= end; i++) {
    const rule = words[i] ?? limit;
    if (rule >= limit) break;
    if (fits(rule)) return rule;
  }
  return limit;
}
