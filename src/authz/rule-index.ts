import { type AffixTree, affixTree, nextAffix } from "./affix-tree.ts";
import type { CallView } from "./call-view.ts";
import type { CompiledRule } from "./compiled-policy.ts";
import { joinedHeader, nextHeaderLine } from "./header-lines.ts";
import { ruleMatches } from "./match-rule.ts";
import { type Grouping, groupByKeys } from "./rule-keys.ts";

/** Finds the first rule that matches a call without asking every rule. */
export interface RuleIndex {
  readonly rules: readonly CompiledRule[];
  /** One tree for each shape of call: what a field means may depend on whether there is an identity and a request. */
  readonly roots: readonly IndexNode[];
  /** For each shape, a branch for every dimension side by side: rules that have something in common with a call. Empty for
   *  DENY, where nobody asks for the nearest. */
  readonly likely: readonly (readonly IndexBranch[])[];
}

type IndexNode = IndexLeaf | IndexBranch;

/** Rules in ascending order that are asked one after the other. */
interface IndexLeaf {
  readonly kind: "leaf";
  readonly firstOrder: number;
  readonly rules: readonly CompiledRule[];
}

/** Splits rules by one dimension of the call. */
interface IndexBranch {
  readonly kind: "branch";
  readonly firstOrder: number;
  readonly dimension: string;
  /** For dimension `header:<name>`. */
  readonly header: string;
  readonly exact: ReadonlyMap<string, IndexNode>;
  readonly prefixes: AffixTree<IndexNode>;
  readonly suffixes: AffixTree<IndexNode>;
  /** Rules that say nothing about the dimension. */
  readonly rest: IndexNode;
}

/** Fewer rules than this are asked one by one. */
const LEAF_RULES = 4;
/** How many rules are kept for one text of one dimension among the likely ones. */
const LIKELY_RULES = 16;
/** Each level looks one thing up; deeper ones are not worth it. */
const MAX_DEPTH = 5;

function shapeOf(hasPeer: boolean, isHttp: boolean): number {
  return (hasPeer ? 1 : 0) + (isHttp ? 2 : 0);
}

export function ruleIndex(rules: readonly CompiledRule[]): RuleIndex {
  const roots: IndexNode[] = [];
  const likely: (readonly IndexBranch[])[] = [];
  for (const isHttp of [false, true]) {
    for (const hasPeer of [false, true]) {
      const alive = rules.filter((rule) => isHttp || rule.action === "DENY" || !rule.readsHttp);
      // A rule may stand in several branches; this bounds how often, for the sake of memory.
      const budget = { left: 100_000 + 32 * alive.length };
      const place = { hasPeer, isHttp, used: [] };
      roots[shapeOf(hasPeer, isHttp)] = build(alive, place, budget);
      const some = (rulesOf: readonly CompiledRule[]) => leaf(rulesOf.slice(0, LIKELY_RULES));
      if (rules[0]?.action === "DENY") continue;
      likely[shapeOf(hasPeer, isHttp)] = groupByKeys(alive, place).map((grouping) =>
        branch({ ...grouping, rest: [] }, 0, some),
      );
    }
  }
  return { rules, roots, likely };
}

interface Place {
  readonly hasPeer: boolean;
  readonly isHttp: boolean;
  /** Dimensions that a branch above has already split by. */
  readonly used: readonly string[];
}

function leaf(rules: readonly CompiledRule[]): IndexLeaf {
  return { kind: "leaf", firstOrder: rules[0]?.order ?? Number.POSITIVE_INFINITY, rules };
}

function build(rules: readonly CompiledRule[], place: Place, budget: { left: number }): IndexNode {
  if (rules.length <= LEAF_RULES || place.used.length >= MAX_DEPTH) return leaf(rules);
  const grouping = bestGrouping(rules, place);
  if (grouping === undefined || grouping.size > budget.left) return leaf(rules);
  budget.left -= grouping.size;
  const below = { ...place, used: [...place.used, grouping.dimension] };
  // Many keys often lead to the same rules: they then share a node.
  const shared = new Map<string, IndexNode>();
  const nodeOf = (some: readonly CompiledRule[]): IndexNode => {
    const signature = some.map(({ order }) => order).join();
    const known = shared.get(signature);
    if (known !== undefined) return known;
    const node = build(some, below, budget);
    shared.set(signature, node);
    return node;
  };
  return branch(grouping, rules[0]?.order ?? Number.POSITIVE_INFINITY, nodeOf);
}

function branch(
  { dimension, exact, prefix, suffix, rest }: Grouping,
  firstOrder: number,
  nodeOf: (rules: readonly CompiledRule[]) => IndexNode,
): IndexBranch {
  const nodes = (groups: ReadonlyMap<string, readonly CompiledRule[]>) =>
    new Map([...groups].map(([key, some]) => [key, nodeOf(some)]));
  return {
    kind: "branch",
    firstOrder,
    dimension,
    header: dimension.startsWith("header:") ? dimension.slice("header:".length) : "",
    exact: nodes(exact),
    prefixes: affixTree(nodes(prefix), false),
    suffixes: affixTree(nodes(suffix), true),
    rest: nodeOf(rest),
  };
}

/** The dimension that leaves the fewest rules to a call in the worst case, if it leaves clearly fewer than there are. */
function bestGrouping(rules: readonly CompiledRule[], place: Place): Grouping | undefined {
  let best: Grouping | undefined;
  for (const grouping of groupByKeys(rules, place)) {
    if (best === undefined || grouping.worst < best.worst) best = grouping;
  }
  return best !== undefined && best.worst <= rules.length * 0.75 ? best : undefined;
}

/** The matching rule that stands first in the files, or undefined. */
export function findRule(index: RuleIndex, call: CallView): CompiledRule | undefined {
  const root = index.roots[shapeOf(call.connection.hasPeer, call.request !== undefined)];
  return root === undefined ? undefined : search(root, call, undefined, undefined);
}

/** Rules that have at least one text in common with a call that no rule matches; at most `limit`. */
export function likelyRules(index: RuleIndex, call: CallView, limit: number): readonly CompiledRule[] {
  const asked: CompiledRule[] = [];
  for (const node of index.likely[shapeOf(call.connection.hasPeer, call.request !== undefined)] ?? []) {
    if (asked.length < limit) searchBranch(node, call, undefined, asked);
  }
  return asked.slice(0, limit);
}

/** Rules that were asked without success, where somebody wants to know. */
type Asked = CompiledRule[] | undefined;

/** `found` is the best rule so far: only rules before it are still of interest. */
function search(
  node: IndexNode,
  call: CallView,
  found: CompiledRule | undefined,
  asked: Asked,
): CompiledRule | undefined {
  if (found !== undefined && node.firstOrder >= found.order) return found;
  if (node.kind === "leaf") {
    for (const rule of node.rules) {
      if (found !== undefined && rule.order >= found.order) return found;
      if (ruleMatches(rule, call)) return rule;
      asked?.push(rule);
    }
    return found;
  }
  return searchBranch(node, call, search(node.rest, call, found, asked), asked);
}

function searchBranch(
  node: IndexBranch,
  call: CallView,
  start: CompiledRule | undefined,
  asked: Asked,
): CompiledRule | undefined {
  const { connection, request } = call;
  let found = start;
  switch (node.dimension) {
    case "principal":
      return lookUp(node, connection.principal, call, found, asked);
    case "trustDomain":
      return lookUp(node, connection.trustDomain, call, found, asked);
    case "namespace":
      for (const namespace of connection.namespaces) found = lookUp(node, namespace, call, found, asked);
      return found;
    case "serviceAccount":
      for (const name of connection.accountNames) found = lookUp(node, name, call, found, asked);
      return found;
    case "port":
      return lookUp(node, connection.portText, call, found, asked);
    case "host":
      found = lookUp(node, call.host, call, found, asked);
      return call.hostName === call.host ? found : lookUp(node, call.hostName, call, found, asked);
    case "method":
      return request === undefined ? found : lookUp(node, request.method, call, found, asked);
    case "path":
      return request === undefined ? found : lookUp(node, request.path, call, found, asked);
    default:
      return searchHeader(node, call, found, asked);
  }
}

/** Each line by itself and all of them joined: which one counts depends on the rule. */
function searchHeader(
  node: IndexBranch,
  call: CallView,
  start: CompiledRule | undefined,
  asked: Asked,
): CompiledRule | undefined {
  const { request } = call;
  if (request === undefined) return start;
  const joined = joinedHeader(request, node.header);
  if (joined === undefined) return start;
  let found = lookUp(node, joined, call, start, asked);
  for (let at = nextHeaderLine(request, node.header, 0); at !== -1; at = nextHeaderLine(request, node.header, at + 1)) {
    const line = request.headers[at] ?? "";
    if (line !== joined) found = lookUp(node, line, call, found, asked);
  }
  return found;
}

function lookUp(
  node: IndexBranch,
  text: string,
  call: CallView,
  start: CompiledRule | undefined,
  asked: Asked,
): CompiledRule | undefined {
  const exact = node.exact.get(text);
  const found = exact === undefined ? start : search(exact, call, start, asked);
  const both = searchAffixes(node.prefixes, text, call, found, asked);
  return searchAffixes(node.suffixes, text, call, both, asked);
}

function searchAffixes(
  tree: AffixTree<IndexNode>,
  text: string,
  call: CallView,
  start: CompiledRule | undefined,
  asked: Asked,
): CompiledRule | undefined {
  let found = start;
  let used = 0;
  let node = nextAffix(tree, tree.root, text, used);
  while (node !== undefined) {
    used += node.label.length;
    if (node.value !== undefined) found = search(node.value, call, found, asked);
    node = nextAffix(tree, node, text, used);
  }
  return found;
}
