import {
  addPattern,
  type BuildingMemory,
  listOf,
  NOTHING,
  numberOf,
  type PatternEntries,
  writeTries,
} from "./building-memory.ts";
import { dimensionKind } from "./call-dimension.ts";
import type { CompiledField, CompiledRule } from "./compiled-policy.ts";
import { NO_CHECK, NO_RULE } from "./policy-memory.ts";
import { isIdentity } from "./policy-model.ts";
import { checkKey, ruleCheck } from "./rule-check.ts";
import { type IndexLayout, IS_NODE, IS_PAIR, IS_RULE, IS_SPLIT, VALUE_BITS } from "./rule-index.ts";
import { type Grouping, groupByKeys, type KeyTable, keyTable, type Shape } from "./rule-keys.ts";
import { fieldsOf } from "./rule-store.ts";
import { type Askers, noteAsker, writeTests } from "./rule-tests.ts";

/** Fewer rules than this are asked one by one. */
const LEAF_RULES = 2;
/** Each level looks one thing up; deeper ones are not worth it. */
const MAX_DEPTH = 6;
/** How many rules are kept for one text of one dimension among the likely ones. */
const LIKELY_RULES = 8;
/** Dimensions by which people know a rule. */
const LIKELY_DIMENSIONS: readonly string[] = [
  "principal",
  "destinationPrincipal",
  "namespace",
  "kubernetesNamespace",
  "serviceAccount",
  "kubernetesAccount",
  "path",
  "host",
  "hostName",
  "hostAndPort",
  "method",
];

const FORMS = ["exact", "prefix", "suffix"] as const;

const SHAPES: readonly Shape[] = [false, true].flatMap((isHttp) => [
  { isHttp, hasIdentity: false, isOpen: false },
  { isHttp, hasIdentity: true, isOpen: false },
  { isHttp, hasIdentity: true, isOpen: true },
]);

/** Builds an index, yielding often. `explains`: somebody will ask for the nearest rule. */
export function* buildRuleIndex(
  rules: readonly CompiledRule[],
  memory: BuildingMemory,
  explains: boolean,
): Generator<void, IndexLayout> {
  const roots: number[] = [];
  const likely: number[] = [];
  const isOutbound = rules[0]?.policy.direction === "OUTBOUND";
  for (const shape of SHAPES) {
    // On TCP an ALLOW rule that looks at HTTP is dropped whole, not only in the alternative that does (section 7).
    const alive = rules.filter((rule) => shape.isHttp || rule.action !== "ALLOW" || !rule.readsHttp);
    if (alive.length === 0 || (shape.isOpen && !isOutbound)) {
      roots.push(NOTHING);
      continue;
    }
    const possible = shape.hasIdentity || isOutbound ? alive : alive.filter((rule) => !needsIdentity(rule));
    const keys = yield* keyTable(explains ? alive : possible, shape);
    const groupings = yield* groupByKeys(explains ? alive : possible, keys, []);
    // A rule may stand in several branches; this bounds how often, for the sake of memory.
    const askers: Askers = new Map();
    const building = { keys, memory, budget: { left: 100_000 + 32 * possible.length }, askers };
    const isWhole = !explains || possible.length === alive.length;
    roots.push(yield* buildNode(possible, building, { used: [], hit: [] }, isWhole ? groupings : undefined));
    yield* writeTests(askers, keys, shape, memory);
    if (explains) likely[roots.length - 1] = yield* buildLikely(groupings, memory);
  }
  const rulesAt = memory.words.length;
  for (const { order } of rules) memory.words.add(order);
  // No branches are a list, too: what stands at NOTHING is a leaf.
  const none = listOf([], memory);
  return { ruleCount: rules.length, rulesAt, roots, likely: Array.from(SHAPES, (_, i) => likely[i] ?? none) };
}

/** Whether an ALLOW rule says whom it allows, in each of its sources or for all: nobody is then not allowed, in either mode (section 5). */
function needsIdentity({ action, sources, conditions }: CompiledRule): boolean {
  if (action !== "ALLOW") return false;
  const names = ({ model: { kind, negated } }: CompiledField): boolean => isIdentity(kind) && !negated;
  return conditions.some(names) || (sources.length > 0 && sources.every((group) => group.some(names)));
}

interface Building {
  readonly keys: KeyTable;
  readonly memory: BuildingMemory;
  readonly budget: { left: number };
  readonly askers: Askers;
}

/** Where a node stands: the dimensions that the branches above have split by, and those of them in which a call that comes here has a text of the
 *  rules. */
interface Place {
  readonly used: readonly string[];
  readonly hit: readonly string[];
}

const NO_PROOFS: ReadonlySet<CompiledField> = new Set();

/** The number of a rule's check where some fields are proved. */
function checkOf(rule: CompiledRule, { keys, memory }: Building, { hit }: Place): number {
  const own = hit.length === 0 ? undefined : keys.get(rule);
  const proofs = hit.map((dimension) => own?.get(dimension)?.proof).filter((field) => field !== undefined);
  const proved = proofs.length === 0 ? NO_PROOFS : new Set(proofs);
  const key = checkKey(ruleCheck(rule, proved));
  const known = memory.checks.get(key);
  if (known !== undefined) return known;
  const numbers = [...fieldsOf(rule).entries()].flatMap(([number, field]) => (proved.has(field) ? [number] : []));
  const check = memory.checkPairs.push(rule.order, listOf(numbers, memory)) / 2 - 1;
  memory.checks.set(key, check);
  return check;
}

function leafOf(rules: readonly CompiledRule[], building: Building, place: Place): number {
  if (rules.length === 0) return NOTHING;
  const { words } = building.memory;
  const checks = rules.map((rule) => checkOf(rule, building, place));
  const leaf = words.add(rules[0]?.order ?? NO_RULE, rules.length);
  for (const [i, rule] of rules.entries()) writePair(rule, checks[i] ?? NO_RULE, building, place);
  return leaf;
}

/** Returns the place of the pair. */
function writePair(rule: CompiledRule, check: number, { memory, askers }: Building, { hit }: Place): number {
  const pair = memory.words.add(rule.order, check);
  if (check !== NO_CHECK) noteAsker(askers, check, { rule, at: pair + 1, hit });
  return pair;
}

/** `known` are the groupings of these rules, where somebody has them already. */
function* buildNode(
  rules: readonly CompiledRule[],
  building: Building,
  place: Place,
  known?: readonly Grouping[],
): Generator<void, number> {
  const { keys, budget, memory } = building;
  if (rules.length <= LEAF_RULES || place.used.length >= MAX_DEPTH) {
    yield;
    return leafOf(rules, building, place);
  }
  const grouping = best(known ?? (yield* groupByKeys(rules, keys, place.used)), rules.length);
  if (grouping === undefined || grouping.size > budget.left) return leafOf(rules, building, place);
  budget.left -= grouping.size;
  const { dimension } = grouping;
  const used = [...place.used, dimension];
  const below = { used, hit: [...place.hit, dimension] };
  // Many keys often lead to the same rules: they then share a value.
  const shared = new Map<string, number>();
  const entries: PatternEntries = { forward: [], backward: [] };
  for (const form of FORMS) {
    for (const [text, some] of grouping[form]) {
      const signature = some.map(({ order }) => order).join();
      const value = shared.get(signature) ?? (yield* valueFor(some, building, below));
      shared.set(signature, value);
      addPattern(entries, form, text, value);
    }
  }
  const tries = yield* writeTries(entries, memory);
  const rest = yield* buildNode(grouping.rest, building, { used, hit: place.hit });
  const first = rules[0]?.order ?? NO_RULE;
  return memory.words.add(first, IS_SPLIT, numberOf(dimension, memory), ...tries, rest);
}

/** What stands for some rules in a trie. */
function* valueFor(rules: readonly CompiledRule[], building: Building, place: Place): Generator<void, number> {
  const [only] = rules;
  if (rules.length > 1 || only === undefined)
    return ((yield* buildNode(rules, building, place)) << VALUE_BITS) | IS_NODE;
  if ((only.order & 63) === 0) yield;
  const check = checkOf(only, building, place);
  if (check === NO_CHECK) return (only.order << VALUE_BITS) | IS_RULE;
  return (writePair(only, check, building, place) << VALUE_BITS) | IS_PAIR;
}

/** The dimension that leaves the fewest rules to a call in the worst case, if it leaves clearly fewer than there are. */
function best(groupings: readonly Grouping[], count: number): Grouping | undefined {
  let found: Grouping | undefined;
  for (const grouping of groupings) if (found === undefined || grouping.worst < found.worst) found = grouping;
  return found !== undefined && found.worst <= count * 0.75 ? found : undefined;
}

function* buildLikely(groupings: readonly Grouping[], memory: BuildingMemory): Generator<void, number> {
  const branches: number[] = [];
  for (const grouping of groupings) {
    const { dimension } = grouping;
    if (!LIKELY_DIMENSIONS.includes(dimensionKind(dimension))) continue;
    const entries: PatternEntries = { forward: [], backward: [] };
    for (const form of FORMS)
      for (const [text, found] of grouping[form]) {
        const orders = found.slice(0, LIKELY_RULES).map(({ order }) => order);
        addPattern(entries, form, text, listOf(orders, memory));
      }
    const tries = yield* writeTries(entries, memory);
    branches.push(numberOf(dimension, memory), ...tries);
  }
  return memory.words.add(branches.length / 3, ...branches);
}
