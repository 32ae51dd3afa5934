import type { RuleId } from "../core/decision.ts";
import { collectTexts } from "./call-dimension.ts";
import type { CallView } from "./call-view.ts";
import type { CompiledField, CompiledRule } from "./compiled-policy.ts";
import { type CheckPool, checkHolds, type RuleCheck, ruleCheck } from "./rule-check.ts";
import { type Grouping, groupByKeys, type KeyTable, keyTable, type Shape } from "./rule-keys.ts";
import { buildTextTrie, collectValues, nearestValue, type TextTrie, type TrieEntry } from "./text-trie.ts";

/** Finds the first rule that matches a call without asking every rule. */
export interface RuleIndex {
  /** In the order of the files. A rule is known by its place here. */
  readonly rules: readonly CompiledRule[];
  readonly ids: readonly RuleId[];
  /** What is asked of rules that were found; many share one. */
  readonly checks: readonly RuleCheck[];
  /** One tree for each shape of call. */
  readonly roots: readonly IndexNode[];
  /** For each shape, a branch for every dimension side by side: rules that have something in common with a call. Only where somebody asks
   *  for the nearest rule. */
  readonly likely: readonly (readonly LikelyBranch[])[];
}

/** Rules that are asked one after the other, or a split by one dimension of the call. One form for both, as all are asked alike. */
interface IndexNode {
  /** The first rule below: when a match before it is known, nothing here is of interest. */
  readonly first: number;
  /** Pairs: a rule, and its check. */
  readonly entries: Int32Array;
  readonly split: Split | undefined;
}

interface Split {
  readonly dimension: string;
  /** For dimension `header:<name>`. */
  readonly header: string;
  readonly forward: TextTrie | undefined;
  readonly backward: TextTrie | undefined;
  /** By half the value of the tries, when that is even: pairs of a rule that is the only one there, and its check. Side by side, as a decision among
   *  many rules takes as long as memory does. */
  readonly singles: Int32Array;
  /** By half the value, when that is odd. */
  readonly nodes: readonly IndexNode[];
  /** Rules that say nothing about the dimension. */
  readonly rest: IndexNode;
}

interface LikelyBranch {
  readonly dimension: string;
  readonly header: string;
  readonly forward: TextTrie | undefined;
  readonly backward: TextTrie | undefined;
  /** By value of the tries, some rules. */
  readonly rules: readonly (readonly CompiledRule[])[];
}

/** Fewer rules than this are asked one by one. */
const LEAF_RULES = 2;
/** Comes after every rule. */
const NO_RULE = 0x3fffffff;
const NOTHING: IndexNode = { first: NO_RULE, entries: new Int32Array(), split: undefined };
/** Each level looks one thing up; deeper ones are not worth it. */
const MAX_DEPTH = 6;
/** How many rules are kept for one text of one dimension among the likely ones. */
const LIKELY_RULES = 8;
/** Dimensions by which people know a rule. */
const LIKELY_DIMENSIONS = [
  "principal",
  "destinationPrincipal",
  "namespace",
  "serviceAccount",
  "path",
  "host",
  "method",
];

const SHAPES: readonly Shape[] = [false, true].flatMap((isHttp) => [
  { isHttp, hasIdentity: false, isOpen: false },
  { isHttp, hasIdentity: true, isOpen: false },
  { isHttp, hasIdentity: true, isOpen: true },
]);

function shapeOf(call: CallView, direction: "inbound" | "outbound"): number {
  const http = call.request === undefined ? 0 : 3;
  if (direction === "inbound") return http + (call.connection.hasPeer ? 1 : 0);
  return http + (call.destination === "" ? 0 : call.isOpen ? 2 : 1);
}

/** Builds an index, yielding often. `explains`: somebody will ask for the nearest rule. */
export function* buildRuleIndex(
  rules: readonly CompiledRule[],
  pool: CheckPool,
  explains: boolean,
): Generator<void, RuleIndex> {
  const roots: IndexNode[] = [];
  const likely: (readonly LikelyBranch[])[] = [];
  const isOutbound = rules[0]?.policy.direction === "OUTBOUND";
  const places = new Map(rules.map((rule, place) => [rule, place]));
  const checks = new Map<RuleCheck, number>();
  for (const shape of SHAPES) {
    // On TCP an ALLOW rule that looks at HTTP is dropped whole, not only in the alternative that does (section 7).
    const alive = rules.filter((rule) => shape.isHttp || rule.action !== "ALLOW" || !rule.readsHttp);
    if (shape.isOpen && !isOutbound) {
      roots.push(NOTHING);
      continue;
    }
    const keys = yield* keyTable(alive, shape);
    // A rule may stand in several branches; this bounds how often, for the sake of memory.
    const building = { keys, pool, places, checks, budget: { left: 100_000 + 32 * alive.length } };
    roots.push(yield* buildNode(alive, building, { used: [], hit: [] }));
    if (explains) likely[roots.length - 1] = yield* buildLikely(alive, keys);
  }
  return { rules, ids: rules.map(({ id }) => id), checks: [...checks.keys()], roots, likely };
}

interface Building {
  readonly keys: KeyTable;
  readonly pool: CheckPool;
  readonly places: ReadonlyMap<CompiledRule, number>;
  /** Numbers of checks. */
  readonly checks: Map<RuleCheck, number>;
  readonly budget: { left: number };
}

/** Where a node stands: the dimensions that the branches above have split by, and those of them in which a call that comes here has a text of the
 *  rules. */
interface Place {
  readonly used: readonly string[];
  readonly hit: readonly string[];
}

const NO_PROOFS: ReadonlySet<CompiledField> = new Set();

function leafOf(rules: readonly CompiledRule[], { keys, pool, places, checks }: Building, { hit }: Place): IndexNode {
  const proved = (rule: CompiledRule): ReadonlySet<CompiledField> => {
    if (hit.length === 0) return NO_PROOFS;
    const own = keys.get(rule);
    return new Set(hit.map((dimension) => own?.get(dimension)?.proof).filter((field) => field !== undefined));
  };
  const entries = new Int32Array(2 * rules.length);
  for (const [i, rule] of rules.entries()) {
    const check = ruleCheck(rule, proved(rule), pool);
    const number = checks.get(check) ?? checks.size;
    checks.set(check, number);
    entries[2 * i] = places.get(rule) ?? NO_RULE;
    entries[2 * i + 1] = number;
  }
  return { first: entries[0] ?? NO_RULE, entries, split: undefined };
}

function* buildNode(rules: readonly CompiledRule[], building: Building, place: Place): Generator<void, IndexNode> {
  const { keys, budget } = building;
  if (rules.length <= LEAF_RULES || place.used.length >= MAX_DEPTH) {
    yield;
    return leafOf(rules, building, place);
  }
  const grouping = best(yield* groupByKeys(rules, keys, place.used), rules.length);
  if (grouping === undefined || grouping.size > budget.left) return leafOf(rules, building, place);
  budget.left -= grouping.size;
  const { dimension } = grouping;
  const used = [...place.used, dimension];
  const hit = [...place.hit, dimension];
  const nodes: IndexNode[] = [];
  const singles: number[] = [];
  // Many keys often lead to the same rules: they then share a node.
  const shared = new Map<string, number>();
  const entries = { forward: [] as TrieEntry[], backward: [] as TrieEntry[] };
  for (const [form, map] of [
    ["exact", grouping.exact],
    ["prefix", grouping.prefix],
    ["suffix", grouping.suffix],
  ] as const) {
    for (const [text, some] of map) {
      const signature = some.map(({ order }) => order).join();
      let value = shared.get(signature);
      if (value === undefined) {
        const node = yield* buildNode(some, building, { used, hit });
        if (node.entries.length === 2) value = singles.push(...node.entries) - 2;
        else value = 2 * (nodes.push(node) - 1) + 1;
        shared.set(signature, value);
      }
      entries[form === "suffix" ? "backward" : "forward"].push({
        text,
        form: form === "exact" ? form : "affix",
        value,
      });
    }
  }
  const split: Split = {
    dimension,
    header: headerOf(dimension),
    forward: yield* trieOf(entries.forward, false),
    backward: yield* trieOf(entries.backward, true),
    singles: Int32Array.from(singles),
    nodes,
    rest: yield* buildNode(grouping.rest, building, { used, hit: place.hit }),
  };
  const [first] = rules;
  return {
    first: first === undefined ? NO_RULE : (building.places.get(first) ?? NO_RULE),
    entries: NOTHING.entries,
    split,
  };
}

function headerOf(dimension: string): string {
  return dimension.startsWith("header:") ? dimension.slice("header:".length) : "";
}

function* trieOf(entries: readonly TrieEntry[], fromEnd: boolean): Generator<void, TextTrie | undefined> {
  return entries.length === 0 ? undefined : yield* buildTextTrie(entries, fromEnd);
}

/** The dimension that leaves the fewest rules to a call in the worst case, if it leaves clearly fewer than there are. */
function best(groupings: readonly Grouping[], count: number): Grouping | undefined {
  let found: Grouping | undefined;
  for (const grouping of groupings) if (found === undefined || grouping.worst < found.worst) found = grouping;
  return found !== undefined && found.worst <= count * 0.75 ? found : undefined;
}

function* buildLikely(rules: readonly CompiledRule[], keys: KeyTable): Generator<void, readonly LikelyBranch[]> {
  const branches: LikelyBranch[] = [];
  for (const { dimension, exact, prefix, suffix } of yield* groupByKeys(rules, keys, [])) {
    if (!LIKELY_DIMENSIONS.includes(dimension)) continue;
    const some: (readonly CompiledRule[])[] = [];
    const entries = (map: ReadonlyMap<string, readonly CompiledRule[]>, form: TrieEntry["form"]): TrieEntry[] =>
      [...map].map(([text, found]) => ({ text, form, value: some.push(found.slice(0, LIKELY_RULES)) - 1 }));
    branches.push({
      dimension,
      header: headerOf(dimension),
      forward: yield* trieOf([...entries(exact, "exact"), ...entries(prefix, "affix")], false),
      backward: yield* trieOf(entries(suffix, "affix"), true),
      rules: some,
    });
  }
  return branches;
}

// What a search has found on its way, as a stack: a decision allocates nothing. Decisions never overlap, for nothing in them waits.
const texts: string[] = [];
const values: number[] = [];
let textCount = 0;
let valueCount = 0;

/** The place of the matching rule that stands first in the files, or -1. */
export function findRule(index: RuleIndex, call: CallView, direction: "inbound" | "outbound"): number {
  if (index.rules.length === 0) return -1;
  const root = index.roots[shapeOf(call, direction)];
  if (root === undefined) return -1;
  textCount = 0;
  valueCount = 0;
  const found = search(index, root, call, NO_RULE);
  return found === NO_RULE ? -1 : found;
}

/** `found` is the best rule so far: only rules before it are still of interest. */
function search(index: RuleIndex, node: IndexNode, call: CallView, found: number): number {
  if (node.first >= found) return found;
  if (node.split !== undefined) return searchSplit(index, node.split, call, found);
  const { entries } = node;
  for (let i = 0; i < entries.length; i += 2) {
    const rule = entries[i] ?? NO_RULE;
    if (rule >= found) return found;
    if (holds(index, entries[i + 1] ?? 0, call)) return rule;
  }
  return found;
}

function holds({ checks }: RuleIndex, number: number, call: CallView): boolean {
  const check = checks[number];
  return check !== undefined && checkHolds(check, call);
}

function searchSplit(index: RuleIndex, split: Split, call: CallView, start: number): number {
  const { forward, backward, nodes, singles } = split;
  let found = search(index, split.rest, call, start);
  const firstText = textCount;
  const firstValue = valueCount;
  textCount = collectTexts(split.dimension, split.header, call, texts, textCount);
  for (let i = firstText; i < textCount; i++) {
    const text = texts[i] ?? "";
    if (forward !== undefined) valueCount = collectValues(forward, text, values, valueCount);
    if (backward !== undefined) valueCount = collectValues(backward, text, values, valueCount);
  }
  textCount = firstText;
  const end = valueCount;
  for (let i = firstValue; i < end; i++) {
    const value = values[i] ?? 0;
    if ((value & 1) === 1) {
      const node = nodes[value >> 1];
      if (node !== undefined) found = search(index, node, call, found);
      continue;
    }
    const rule = singles[value] ?? NO_RULE;
    if (rule < found && holds(index, singles[value + 1] ?? 0, call)) found = rule;
  }
  valueCount = firstValue;
  return found;
}

/** Rules that have a text in common with a call that no rule matches, or nearly; at most `limit`, each once. */
export function likelyRules(
  index: RuleIndex,
  call: CallView,
  direction: "inbound" | "outbound",
  limit: number,
): readonly CompiledRule[] {
  const found = new Set<CompiledRule>();
  const asked: string[] = [];
  const fits: number[] = [];
  for (const branch of index.likely[shapeOf(call, direction)] ?? []) {
    const count = collectTexts(branch.dimension, branch.header, call, asked, 0);
    for (const text of asked.slice(0, count)) {
      let end = 0;
      for (const trie of [branch.forward, branch.backward]) {
        if (trie === undefined) continue;
        end = collectValues(trie, text, fits, end);
        const near = nearestValue(trie, text);
        if (near >= 0) fits[end++] = near;
      }
      for (const value of fits.slice(0, end)) {
        for (const rule of branch.rules[value] ?? []) {
          if (found.size >= limit) return [...found];
          found.add(rule);
        }
      }
    }
  }
  return [...found];
}
