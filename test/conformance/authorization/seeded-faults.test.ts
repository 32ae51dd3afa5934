import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { CompiledPolicy, RuleSet } from "../../../src/authz/compiled-policy.ts";
import { decideCall } from "../../../src/authz/decide.ts";
import { loadPolicies } from "../../../src/authz/load-policies.ts";
import type { RuleIndex } from "../../../src/authz/rule-index.ts";
import type { TextTrie } from "../../../src/authz/text-trie.ts";
import { decideLinear } from "./decide-linear.ts";
import { call, inboundPolicies, meanings, optionsOf, textOf } from "./generate-policies.ts";
import "../../../src/authz/use-cel.ts";

// A property that no fault can break proves nothing: each of these is put into a correct index on purpose, and must be found.

type Node = RuleIndex["roots"][number];
type Split = NonNullable<Node["split"]>;
type Check = RuleIndex["checks"][number];

const eachSplit =
  (change: (split: Split) => Split) =>
  (node: Node): Node => ({ ...node, split: node.split && change(node.split) });
const nothing: Node = { first: 0x3fffffff, entries: new Int32Array(), split: undefined };

/** The pairs of a rule and its check, changed as a list of pairs. */
function changePairs(numbers: Int32Array, change: (pairs: readonly number[][]) => readonly number[][]): Int32Array {
  const pairs = Array.from({ length: numbers.length / 2 }, (_, i) => [...numbers.subarray(2 * i, 2 * i + 2)]);
  return Int32Array.from(change(pairs).flat());
}

/** Changes one number in each node of a trie. */
function changeTrie(trie: TextTrie | undefined, change: (fields: Int32Array) => void): TextTrie | undefined {
  if (trie === undefined) return undefined;
  const nodes = Int32Array.from(trie.nodes);
  for (let at = 0; at < nodes.length; at += 8) change(nodes.subarray(at, at + 8));
  return { ...trie, nodes };
}
const eachTrie = (change: (fields: Int32Array) => void) =>
  eachSplit((split) => ({
    ...split,
    forward: changeTrie(split.forward, change),
    backward: changeTrie(split.backward, change),
  }));

const nodeFaults: Readonly<Record<string, (node: Node) => Node>> = {
  "rules that say nothing about a dimension are lost": eachSplit((split) => ({ ...split, rest: nothing })),
  "suffixes are not looked up": eachSplit((split) => ({ ...split, backward: undefined })),
  "texts without a suffix are not looked up": eachSplit((split) => ({ ...split, forward: undefined })),
  "prefixes match nothing": eachTrie((fields) => {
    fields[3] = -1;
  }),
  "exact texts match nothing": eachTrie((fields) => {
    fields[2] = -1;
  }),
  "exact texts match as prefixes": eachTrie((fields) => {
    if ((fields[2] ?? -1) >= 0) fields[3] = fields[2] ?? -1;
  }),
  "texts that end behind a character match nothing": eachSplit((split) => ({
    ...split,
    forward: split.forward && { ...split.forward, table: split.forward.table.map((child) => Math.max(child, -1)) },
  })),
  "a label is not compared": eachTrie((fields) => {
    fields[1] = 0;
  }),
  "a text leads to its neighbour's rules": eachSplit((split) => ({
    ...split,
    singles: changePairs(split.singles, (pairs) => [...pairs.slice(1), ...pairs.slice(0, 1)]),
    nodes: [...split.nodes.slice(1), ...split.nodes.slice(0, 1)],
  })),
  "only the last rule of a leaf is asked": (node) => ({
    ...node,
    entries: changePairs(node.entries, (pairs) => pairs.slice(-1)),
  }),
  "a later rule is taken for the first": (node) => ({
    ...node,
    entries: changePairs(node.entries, (pairs) => pairs.toReversed()),
  }),
  "the last alternative of a split is lost": eachSplit((split) => ({ ...split, nodes: split.nodes.slice(0, -1) })),
};

const checkFaults: Readonly<Record<string, (check: Check) => Check>> = {
  "fields are not asked": (check) => ({ ...check, all: [] }),
  "one of several sources is not asked": (check) => ({ ...check, sources: check.sources?.slice(0, 1) }),
  "one of several operations is not asked": (check) => ({ ...check, operations: check.operations?.slice(0, 1) }),
  "several sources are as good as none": (check) => ({ ...check, sources: undefined }),
  "several operations are as good as none": (check) => ({ ...check, operations: undefined }),
  "expressions are not asked": (check) => ({ ...check, expression: undefined }),
  "only the first field is asked": (check) => ({ ...check, all: check.all.slice(0, 1) }),
  "one kept answer is taken for another": (check) => ({
    ...check,
    all: check.all.map((matcher) => ({ ...matcher, kept: Math.min(matcher.kept, 0) })),
  }),
};

const ACTIONS = ["deny", "allow", "audit"] as const;

function changeIndexes(policy: CompiledPolicy, change: (index: RuleIndex) => RuleIndex): CompiledPolicy {
  const inbound: RuleSet = { ...policy.inbound };
  const changed = Object.fromEntries(ACTIONS.map((action) => [action, change(inbound[action])]));
  return { ...policy, inbound: { ...inbound, ...changed } };
}

function changeNodes(policy: CompiledPolicy, change: (node: Node) => Node): CompiledPolicy {
  const all = (node: Node): Node => {
    const { split } = node;
    const below = split && { ...split, nodes: split.nodes.map(all), rest: all(split.rest) };
    return change({ ...node, split: below });
  };
  return changeIndexes(policy, (index) => ({ ...index, roots: index.roots.map(all) }));
}

const setFaults: Readonly<Record<string, (policy: CompiledPolicy) => CompiledPolicy>> = {
  "callers without identity are looked up among those with one": (policy) =>
    changeIndexes(policy, (index) => ({
      ...index,
      roots: index.roots.map((root, i) => index.roots[i - (i % 3) + 1] ?? root),
    })),
  "TCP is looked up as HTTP": (policy) =>
    changeIndexes(policy, (index) => ({
      ...index,
      roots: index.roots.map((root, i) => index.roots[3 + (i % 3)] ?? root),
    })),
  "hosts are not taken apart": (policy) => ({ ...policy, comparesHosts: false }),
  "the number of ALLOW policies is wrong": (policy) => ({
    ...policy,
    inbound: { ...policy.inbound, allowPolicyCount: 0 },
  }),
  "dry-run policies are enforced": (policy) => ({
    ...policy,
    inbound: { ...policy.inbound, allow: policy.inbound.dryRun?.allow ?? policy.inbound.allow },
  }),
  "a provider is forgotten": (policy) => ({
    ...policy,
    inbound: { ...policy.inbound, custom: policy.inbound.custom.slice(1) },
  }),
};

const faults: readonly (readonly [string, (policy: CompiledPolicy) => CompiledPolicy])[] = [
  ...Object.entries(nodeFaults).map(
    ([name, change]) => [name, (policy: CompiledPolicy) => changeNodes(policy, change)] as const,
  ),
  ...Object.entries(checkFaults).map(
    ([name, change]) =>
      [
        name,
        (policy: CompiledPolicy) => changeIndexes(policy, (index) => ({ ...index, checks: index.checks.map(change) })),
      ] as const,
  ),
  ...Object.entries(setFaults),
];

describe("the comparison with a plain evaluation finds that", () => {
  it.each(faults)("%s", (_, seed) => {
    const calls = fc.array(call, { minLength: 10, maxLength: 10 });
    const found = fc.check(
      fc.property(inboundPolicies, calls, (documents, all) => {
        const files = documents.length === 0 ? [] : [{ file: "p.yaml", text: textOf(documents) }];
        const right = loadPolicies(files, optionsOf("strict", "deny")).policy;
        // Another version, so that no answer of a connection is shared with the right one.
        const wrong = { ...seed(right), version: `${right.version}-wrong` };
        for (const facts of all) {
          const made = decideCall(wrong, facts);
          const { kind, rule, ask, audit } = decideLinear(right, facts, { meanings });
          const verdict = made.kind === "ask" ? made.decision : made;
          const decided = verdict.kind === "allow" ? verdict.permit.rule : verdict.rule;
          const asked = made.kind === "ask" ? made.providers.map((one) => `${one.provider} by ${one.rule}`) : [];
          expect([verdict.kind, decided, asked, verdict.notes?.auditRule]).toEqual([kind, rule, ask, audit]);
        }
      }),
      { numRuns: 600, seed: 11, endOnFailure: true },
    );
    expect(found.failed).toBe(true);
  });
});
