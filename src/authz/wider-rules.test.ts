import { describe, expect, it } from "vitest";
import { strictPolicyOptions } from "../../test/support/strict-policy-options.ts";
import { loadPolicies } from "./load-policies.ts";
import { ruleCovers } from "./rule-cover.ts";
import { widerRules } from "./wider-rules.ts";
import "./use-cel.ts";

const options = strictPolicyOptions();

function load(name: string, rules: readonly string[]) {
  const head = `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: ${name}, namespace: shop }\n`;
  const text = `${head}spec:\n  rules:\n${rules.map((rule) => `    - ${rule}\n`).join("")}`;
  return { file: `${name}.yaml`, text };
}

const operations = [
  "{ paths: [/a] }",
  "{ paths: [/b] }",
  "{ paths: [/a, /b] }",
  "{ paths: [/a*] }",
  '{ paths: ["*"] }',
  "{ paths: ['/{*}'] }",
  "{ notPaths: [/a] }",
  "{ paths: [/a], notPaths: [/b] }",
  "{ methods: [GET] }",
  "{ methods: [GET], paths: [/a] }",
];
const rules = [
  "{}",
  "from: [{ source: { namespaces: [shop] } }]",
  ...operations.flatMap((one) => [
    `to: [{ operation: ${one} }]`,
    `{ from: [{ source: { namespaces: [shop] } }], to: [{ operation: ${one} }] }`,
    ...operations.map((two) => `to: [{ operation: ${one} }, { operation: ${two} }]`),
  ]),
];

describe("the rules that may be wider than another", () => {
  it("are all that are, and few", () => {
    const all = loadPolicies([load("a", rules)], options).documents.policies[0]?.rules ?? [];
    const wider = widerRules(all);
    let [covering, asked] = [0, 0];
    for (const narrow of all) {
      const found = wider.candidates(narrow).flat();
      asked += found.length;
      for (const wide of all) {
        if (!ruleCovers(wide, narrow, [])) continue;
        covering++;
        expect(found).toContain(wide);
      }
    }
    expect(covering).toBeGreaterThan(all.length);
    expect(asked).toBeLessThan(0.9 * all.length ** 2);
  });

  it("are found in each of many policies of many rules", () => {
    const paths = Array.from({ length: 500 }, (_, i) => `to: [{ operation: { paths: [/thing/${i}] } }]`);
    const twice = [...paths, "to: [{ operation: { methods: [GET], paths: [/thing/77] } }]"];
    const files = Array.from({ length: 10 }, (_, i) => load(`p${i}`, twice));
    const found = loadPolicies(files, options).warnings.filter(({ code }) => code === "W_POLICY_SHADOWED");
    expect(found).toHaveLength(10);
    expect(found[9]?.message).toContain("rule 77 matches whatever it matches");
  });
});
