import { describe, expect, it } from "vitest";
import { strictPolicyOptions } from "../../test/support/strict-policy-options.ts";
import { atOnce } from "./at-once.ts";
import { comparableRules } from "./comparable-rules.ts";
import { loadPolicies } from "./load-policies.ts";
import { coverMaker, ruleCovers } from "./rule-cover.ts";
import { widerRules } from "./wider-rules.ts";
import "./use-cel.ts";

const RULES_PER_POLICY = 500;

/** Policies p0, p1, … of as many rules as one may have. */
function filesOf(count: number, rule: (i: number) => string) {
  const numbers = Array.from({ length: count }, (_, i) => i);
  const policies = Map.groupBy(numbers, (i) => Math.floor(i / RULES_PER_POLICY));
  return [...policies].map(([number, some]) => {
    const head = `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: p${number}, namespace: shop }\n`;
    return {
      file: `p${number}.yaml`,
      text: `${head}spec:\n  rules:\n${some.map((i) => `    - ${rule(i)}\n`).join("")}`,
    };
  });
}

function rulesOf(count: number, rule: (i: number) => string) {
  return loadPolicies(filesOf(count, rule), strictPolicyOptions()).documents.policies.flatMap((one) => one.rules);
}

const operations = [
  "{ paths: [/a] }",
  "{ paths: [/b] }",
  "{ paths: [/a, /b] }",
  "{ paths: [/a*] }",
  '{ paths: ["*"] }',
  "{ paths: ['/{*}'] }",
  "{ notPaths: [/a] }",
  "{ notPaths: ['/a*', /b] }",
  "{ paths: [/a], notPaths: [/b] }",
  "{ methods: [GET] }",
  "{ methods: [GET], paths: [/a] }",
];
const rules = [
  "{}",
  "from: [{ source: { namespaces: [shop] } }]",
  "when: [{ key: 'request.headers[x]', values: [a] }, { key: 'request.headers[x]', values: ['b*'] }]",
  "when: [{ key: 'request.headers[x]', values: [bc] }, { key: 'request.headers[x]', values: [a, b] }]",
  ...operations.flatMap((one) => [
    `to: [{ operation: ${one} }]`,
    `{ from: [{ source: { namespaces: [shop] } }], to: [{ operation: ${one} }] }`,
    ...operations.map((two) => `to: [{ operation: ${one} }, { operation: ${two} }]`),
  ]),
];

describe("the rules that cover another", () => {
  it("are all found, the first one first", () => {
    const maker = coverMaker([]);
    const all = rulesOf(rules.length, (i) => rules[i] ?? "").map((rule, order) => ({
      cover: maker.rule(rule, false),
      order,
    }));
    const index = atOnce(widerRules(all));
    const meter = { left: Number.POSITIVE_INFINITY };
    let found = 0;
    for (const { cover } of all) {
      // Of those that ask the same, the first stands for all.
      const wider = all.filter((other) => other.cover !== cover && ruleCovers(other.cover, cover, meter));
      expect(index.first(cover, () => true, meter)).toBe(wider[0]);
      const last = wider.at(-1);
      const isLast = (one: (typeof all)[number]) => one === last;
      if (last !== undefined) expect(index.first(cover, isLast, meter)).toBe(last);
      found += wider.length;
    }
    expect(found).toBeGreaterThan(all.length);
  });
});

describe("among 3 000 rules", () => {
  const options = strictPolicyOptions();
  const cost = (count: number, rule: (i: number) => string) => {
    const { policies } = loadPolicies(filesOf(count, rule), options).documents;
    const all = atOnce(comparableRules(policies, options));
    const meter = { left: Number.POSITIVE_INFINITY };
    let asked = 0;
    let shadowed = 0;
    for (const one of all.rules) {
      meter.left = 1e9;
      if (all.shadowOf(one, meter) !== undefined) shadowed++;
      asked += 1e9 - meter.left;
    }
    return { asked: Math.ceil(asked / count), shadowed };
  };

  it.each<[string, (i: number) => string, number, number]>([
    ["of different paths", (i) => `to: [{ operation: { methods: [GET], paths: [/thing/${i}] } }]`, 10, 0],
    [
      "of different beginnings of paths",
      (i) => `to: [{ operation: { methods: [GET], paths: ["/thing/${i}/*"] } }]`,
      10,
      0,
    ],
    ["of different templates", (i) => `to: [{ operation: { paths: ["/a/{*}/thing/${i}"] } }]`, 10, 0],
    ["of different addresses", (i) => `from: [{ source: { ipBlocks: ["10.0.${i >> 8}.${i & 255}"] } }]`, 10, 0],
    ["that are all alike", () => "to: [{ operation: { methods: [GET], paths: [/thing] } }]", 20, 2_999],
    [
      "of 100 callers and 100 paths",
      (i) =>
        `{ from: [{ source: { namespaces: [n${i % 100}] } }], to: [{ operation: { paths: [/thing/${Math.floor(i / 100)}] } }] }`,
      20,
      0,
    ],
    [
      "of which the last allows all",
      (i) => (i === 2_999 ? "{}" : `to: [{ operation: { paths: [/thing/${i}] } }]`),
      20,
      2_999,
    ],
    ["whose paths have a value that all have", (i) => `to: [{ operation: { paths: [/healthz, /thing/${i}] } }]`, 10, 0],
    ["that take different paths away", (i) => `to: [{ operation: { notPaths: [/a${i}, /b${i}] } }]`, 10, 0],
    [
      "of which each covers the next ones",
      (i) => `to: [{ operation: { paths: ["/${"a".repeat(i % 20)}*"] } }]`,
      300,
      2_999,
    ],
  ])("%s, a rule is compared with few", (_, rule, most, shadowed) => {
    const found = cost(3_000, rule);
    expect(found.shadowed).toBe(shadowed);
    expect(found.asked).toBeLessThan(most);
  });

  it("those shadowed in other policies are found by a load", () => {
    const rule = (i: number) =>
      `to: [{ operation: { methods: [${i === 2_500 ? '"*"' : "GET"}], paths: [/thing/${i % 2_990}] } }]`;
    const found = loadPolicies(filesOf(3_000, rule), options).warnings;
    expect(found.map(({ code }) => code)).toEqual(Array.from({ length: 10 }, () => "W_POLICY_SHADOWED"));
    expect(found[9]?.message).toBe(
      "ns[shop]-policy[p5]-rule[499] changes nothing: ns[shop]-policy[p0]-rule[9] (p0.yaml:15) matches whatever it matches",
    );
  });

  it("a load names a hundred, and says that there may be more", () => {
    const found = loadPolicies(
      filesOf(3_000, () => "to: [{ operation: { paths: [/thing] } }]"),
      options,
    ).warnings;
    expect(found).toHaveLength(101);
    expect(found.at(-1)).toMatchObject({
      code: "W_POLICY_LINT_LIMIT",
      at: { file: "p0.yaml", line: 107, column: 7 },
      message: "100 rules that change nothing are named, and there may be more from here on",
      fix: "run `countersign policy lint`, which compares all of them",
    });
  });

  it("a load that would have to compare too much says so, once", () => {
    // Each names 40 of 60 callers and 40 of 60 paths.
    const some = (what: string, seed: number) =>
      Array.from({ length: 40 }, (_, j) => `${what}${(seed + j * (1 + (seed % 7))) % 61}`).join(", ");
    const rule = (i: number) =>
      `{ from: [{ source: { namespaces: [${some("n", i)}] } }], to: [{ operation: { paths: [${some("/p", i * 31 + 7)}] } }] }`;
    const found = loadPolicies(filesOf(2_000, rule), options).warnings;
    const limits = found.filter(({ code }) => code === "W_POLICY_LINT_LIMIT");
    expect(limits).toHaveLength(1);
    expect(limits[0]).toMatchObject({ fix: expect.stringContaining("policy lint") });
  });
});
