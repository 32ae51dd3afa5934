import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { CompiledPolicy, RuleSet } from "../../../src/authz/compiled-policy.ts";
import { decideCall } from "../../../src/authz/decide.ts";
import { loadPolicies } from "../../../src/authz/load-policies.ts";
import { listAt, type PolicyMemory } from "../../../src/authz/policy-memory.ts";
import { ruleCheck } from "../../../src/authz/rule-check.ts";
import type { RuleIndex } from "../../../src/authz/rule-index.ts";
import { fieldsOf } from "../../../src/authz/rule-store.ts";
import { decideLinear } from "./decide-linear.ts";
import { call, inboundPolicies, meanings, optionsOf, textOf } from "./generate-policies.ts";
import "../../../src/authz/use-cel.ts";

// A property that no fault can break proves nothing: each of these is put into a correct index on purpose, and must be found.

type Check = NonNullable<PolicyMemory["checks"][number]>;

/** Splits and leaves by their places, as src/authz/rule-index.ts reads them. */
const SPLIT = { forward: 3, backward: 4, rest: 5 } as const;
/** The head of a trie's node, as src/authz/text-trie.ts reads it. */
const TRIE = { hasExact: 1, hasPrefix: 2, hasChildren: 4, isSparse: 16, isWide: 32, length: 7 } as const;
/** As a value: a node without rules. */
const NOBODY = 1;

const labelOf = (node: number, head: number): number =>
  node + 1 + [TRIE.hasExact, TRIE.hasPrefix, TRIE.hasChildren].filter((flag) => (head & flag) !== 0).length;

/** The places of a trie's nodes, and of its children. */
function trieOf(words: Int32Array, root: number): { readonly nodes: readonly number[]; readonly children: number[] } {
  const nodes = root === 0 ? [] : [root];
  const children: number[] = [];
  for (const node of nodes) {
    const head = words[node] ?? 0;
    const label = labelOf(node, head);
    const span = (head & TRIE.hasChildren) === 0 ? 0 : (words[label - 1] ?? 0);
    const behind = label + (((head >> TRIE.length) + 1) >> 1);
    const isSparse = (head & TRIE.isSparse) !== 0;
    const isWide = (head & TRIE.isWide) !== 0;
    // A wide table has rows, behind the span of their characters.
    const first = isWide ? behind + 1 : behind;
    const count = (span & 511) * (isWide ? (words[behind] ?? 0) & 511 : 1);
    for (let i = 0; i < (isSparse ? span : count); i++) {
      const at = isSparse ? first + 2 * i + 1 : first + i;
      children.push(at);
      if ((words[at] ?? -1) >= 0) nodes.push(words[at] ?? 0);
    }
  }
  return { nodes, children };
}

/** The places of all that a trie says: values of texts and of children that are nothing else. */
function valuesOf(words: Int32Array, root: number): readonly { readonly value: number; set(value: number): void }[] {
  const { nodes, children } = trieOf(words, root);
  const ends = nodes.flatMap((node) => {
    const head = words[node] ?? 0;
    const count = (head & TRIE.hasExact) + ((head & TRIE.hasPrefix) >> 1);
    return Array.from({ length: count }, (_, i) => node + 1 + i);
  });
  return [
    ...ends.map((at) => ({
      value: words[at] ?? 0,
      set: (value: number) => {
        words[at] = value;
      },
    })),
    ...children
      .filter((at) => (words[at] ?? 0) <= -2)
      .map((at) => ({
        value: -2 - (words[at] ?? 0),
        set: (value: number) => {
          words[at] = -2 - value;
        },
      })),
  ];
}

interface Found {
  readonly splits: readonly number[];
  readonly leaves: readonly number[];
}

/** Every node below a root. */
function nodesBelow(words: Int32Array, root: number): Found {
  const all = new Set([root]);
  for (const node of all) {
    if (words[node + 1] !== -1) continue;
    all.add(words[node + SPLIT.rest] ?? 0);
    for (const at of [SPLIT.forward, SPLIT.backward])
      for (const { value } of valuesOf(words, words[node + at] ?? 0)) if ((value & 3) === 1) all.add(value >> 2);
  }
  const isSplit = (node: number) => words[node + 1] === -1;
  return { splits: [...all].filter(isSplit), leaves: [...all].filter((node) => !isSplit(node) && node !== 0) };
}

type WordsFault = (words: Int32Array, found: Found) => void;

const eachSplit =
  (change: (words: Int32Array, split: number) => void): WordsFault =>
  (words, { splits }) => {
    for (const split of splits) change(words, split);
  };
const eachTrieNode = (change: (words: Int32Array, node: number) => void): WordsFault =>
  eachSplit((words, split) => {
    for (const at of [SPLIT.forward, SPLIT.backward])
      for (const node of trieOf(words, words[split + at] ?? 0).nodes) change(words, node);
  });
const eachLeaf =
  (change: (words: Int32Array, leaf: number, pairs: number) => void): WordsFault =>
  (words, { leaves }) => {
    for (const leaf of leaves) change(words, leaf, words[leaf + 1] ?? 0);
  };
/** The places of lists of tests, and of what names each. */
function testsOf(
  words: Int32Array,
  { splits, leaves }: Found,
): readonly { readonly named: number; readonly at: number }[] {
  const inLeaves = leaves.flatMap((leaf) =>
    Array.from({ length: Math.max(words[leaf + 1] ?? 0, 0) }, (_, i) => leaf + 3 + 2 * i),
  );
  const inTries = splits.flatMap((split) =>
    [SPLIT.forward, SPLIT.backward].flatMap((at) =>
      valuesOf(words, words[split + at] ?? 0).flatMap(({ value }) => ((value & 3) === 2 ? [(value >> 2) + 1] : [])),
    ),
  );
  return [...inLeaves, ...inTries].flatMap((named) => {
    const at = words[named] ?? 0;
    return at < 0 ? [{ named, at: -at }] : [];
  });
}
/** The places of each alternative's tests in the lists of tests. */
function alternativesOf(
  words: Int32Array,
  found: Found,
): readonly { readonly tests: readonly number[]; readonly isLast: boolean }[] {
  const alternatives: { readonly tests: readonly number[]; readonly isLast: boolean }[] = [];
  for (const list of new Set(testsOf(words, found).map(({ at }) => at))) {
    let at = list + 1;
    for (let clause = 0; clause < (words[list] ?? 0); clause++)
      for (let left = words[at++] ?? 0; left > 0; left--) {
        const count = words[at++] ?? 0;
        const first = at;
        alternatives.push({ tests: Array.from({ length: count }, (_, i) => first + i), isLast: left === 1 });
        at += count;
      }
  }
  return alternatives;
}

const eachAlternative =
  (change: (words: Int32Array, tests: readonly number[], isLast: boolean) => void): WordsFault =>
  (words, found) => {
    for (const { tests, isLast } of alternativesOf(words, found)) change(words, tests, isLast);
  };

const wordsFaults: Readonly<Record<string, WordsFault>> = {
  "rules that say nothing about a dimension are lost": eachSplit((words, split) => {
    words[split + SPLIT.rest] = 0;
  }),
  "suffixes are not looked up": eachSplit((words, split) => {
    words[split + SPLIT.backward] = 0;
  }),
  "texts without a suffix are not looked up": eachSplit((words, split) => {
    words[split + SPLIT.forward] = 0;
  }),
  "prefixes match nothing": eachTrieNode((words, node) => {
    const head = words[node] ?? 0;
    if ((head & TRIE.hasPrefix) !== 0) words[node + 1 + (head & TRIE.hasExact)] = NOBODY;
  }),
  "exact texts match nothing": eachTrieNode((words, node) => {
    if (((words[node] ?? 0) & TRIE.hasExact) !== 0) words[node + 1] = NOBODY;
  }),
  "exact texts match as prefixes": eachTrieNode((words, node) => {
    const both = TRIE.hasExact | TRIE.hasPrefix;
    if (((words[node] ?? 0) & both) === TRIE.hasExact) words[node] = (words[node] ?? 0) ^ both;
  }),
  "texts that end behind a character match nothing": eachSplit((words, split) => {
    for (const at of trieOf(words, words[split + SPLIT.forward] ?? 0).children)
      words[at] = Math.max(words[at] ?? 0, -1);
  }),
  "the first two characters of a label are not compared": eachTrieNode((words, node) => {
    const head = words[node] ?? 0;
    if (head >> TRIE.length >= 2) words[labelOf(node, head)] = 0x610061;
  }),
  "a text leads to its neighbour's rules": eachSplit((words, split) => {
    const all = valuesOf(words, words[split + SPLIT.forward] ?? 0);
    for (const [i, { set }] of all.entries()) set(all[(i + 1) % all.length]?.value ?? 0);
  }),
  "a rule is taken to be proved": eachSplit((words, split) => {
    for (const { value, set } of valuesOf(words, words[split + SPLIT.forward] ?? 0))
      if ((value & 3) === 2) set((words[value >> 2] ?? 0) << 2);
  }),
  "what only one rule asks is not asked": (words, found) => {
    for (const { named } of testsOf(words, found)) words[named] = 0;
  },
  "only the first of a rule's tests is asked": eachAlternative((words, tests) => {
    for (const at of tests) words[at] = words[tests[0] ?? at] ?? 0;
  }),
  "a test is turned round": eachAlternative((words, [at]) => {
    if (at !== undefined) words[at] = -(words[at] ?? 0);
  }),
  "a field that is negated is asked as if it were not": eachAlternative((words, tests) => {
    for (const at of tests) words[at] = Math.abs(words[at] ?? 0);
  }),
  "a rule is found by the last alternative alone": eachAlternative((words, tests, isLast) => {
    const [at] = tests;
    if (!isLast && at !== undefined) words[at] = -(words[at] ?? 0);
  }),
  "a test looks for the texts of another rule": (words, found) => {
    const all = alternativesOf(words, found).flatMap(({ tests }) => tests);
    const tests = all.map((at) => words[at] ?? 0);
    for (const [i, at] of all.entries()) words[at] = tests[(i + 1) % all.length] ?? 0;
  },
  "a test looks into another dimension": eachAlternative((words, tests) => {
    for (const at of tests) {
      const dimension = Math.abs(words[at] ?? 0) + 1;
      words[dimension] = (words[dimension] ?? 0) === 0 ? 1 : 0;
    }
  }),
  "only the first rule of a leaf is asked": eachLeaf((words, leaf) => {
    words[leaf + 1] = 1;
  }),
  "a later rule is taken for the first": eachLeaf((words, leaf, pairs) => {
    words.copyWithin(leaf + 2, leaf + 2 * pairs, leaf + 2 + 2 * pairs);
    words[leaf + 1] = 1;
  }),
  "a rule is asked what belongs to another": eachLeaf((words, leaf, pairs) => {
    if (pairs > 1) words[leaf + 3] = words[leaf + 5] ?? 0;
  }),
  "what a node begins with is wrong": eachSplit((words, split) => {
    words[split] = (words[split] ?? 0) + 5;
  }),
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

function changeWords(policy: CompiledPolicy, fault: WordsFault): CompiledPolicy {
  const words = Int32Array.from(policy.memory.words);
  for (const action of ACTIONS) for (const root of policy.inbound[action].roots) fault(words, nodesBelow(words, root));
  const memory = { ...policy.memory, words, checks: [] };
  return changeIndexes({ ...policy, memory }, (index) => ({ ...index, memory }));
}

function changeChecks(policy: CompiledPolicy, change: (check: Check) => Check): CompiledPolicy {
  const { words, checkCount, checksAt, rules } = policy.memory;
  const checks = Array.from({ length: checkCount }, (_, i) => {
    if (i === 0) return undefined;
    const rule = rules.ruleAt(words[checksAt + 2 * i] ?? -1);
    const fields = fieldsOf(rule);
    const proved = listAt(words, words[checksAt + 2 * i + 1] ?? 0).flatMap((number) => fields[number] ?? []);
    return change(ruleCheck(rule, new Set(proved)));
  });
  const memory = { ...policy.memory, checks };
  return changeIndexes({ ...policy, memory }, (index) => ({ ...index, memory }));
}

/** Each kind that the index looks up by what else a call says. */
const LOOKED_UP = [
  "sni",
  "audience",
  "presenter",
  "claim",
  "header",
  "headerAlone",
  "hostName",
  "hostAndPort",
  "path",
  "principal",
  "kubernetesNamespace",
  "kubernetesAccount",
  "issuer",
  "sourceIp",
] as const;

function changeLookups(policy: CompiledPolicy, kind: (typeof LOOKED_UP)[number]): CompiledPolicy {
  const lookups = policy.memory.lookups.map((one) => (one.kind === kind ? { ...one, kind: "port" as const } : one));
  const memory = { ...policy.memory, lookups };
  return changeIndexes({ ...policy, memory }, (index) => ({ ...index, memory }));
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
  ...Object.entries(wordsFaults).map(
    ([name, fault]) => [name, (policy: CompiledPolicy) => changeWords(policy, fault)] as const,
  ),
  ...Object.entries(checkFaults).map(
    ([name, change]) => [name, (policy: CompiledPolicy) => changeChecks(policy, change)] as const,
  ),
  ...LOOKED_UP.map(
    (kind) =>
      [
        `another text is looked up than a call's ${kind}`,
        (policy: CompiledPolicy) => changeLookups(policy, kind),
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
        const seeded = seed(right);
        // Other rules by name, so that no answer of a connection is shared with the right set.
        const wrong = { ...seeded, memory: { ...seeded.memory, rules: { ...seeded.memory.rules } } };
        for (const facts of all) {
          const made = decideCall(wrong, facts);
          const { kind, rule, ask, audit } = decideLinear(right, facts, { meanings });
          const verdict = made.kind === "ask" ? made.decision : made;
          const decided = verdict.kind === "allow" ? verdict.permit.rule : verdict.rule;
          const asked = made.kind === "ask" ? made.providers.map((one) => `${one.provider} by ${one.rule}`) : [];
          expect([verdict.kind, decided, asked, verdict.notes?.auditRule]).toEqual([kind, rule, ask, audit]);
        }
      }),
      { numRuns: 2_000, seed: 11, endOnFailure: true },
    );
    expect(found.failed).toBe(true);
  });
});
