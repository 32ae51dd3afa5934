import { describe, expect, it } from "vitest";
import { strictPolicyOptions } from "../../test/support/strict-policy-options.ts";
import { CountersignErrors } from "../core/errors.ts";
import { loadPolicies, loadPoliciesInTurns } from "./load-policies.ts";
import "./use-cel.ts";

const options = strictPolicyOptions();

function fileOf(count: number, rule: (i: number) => string) {
  const rules = Array.from({ length: count }, (_, i) => `    - ${rule(i)}\n`).join("");
  const head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: a, namespace: shop }\n";
  return { file: "p.yaml", text: `${head}spec:\n  rules:\n${rules}` };
}

/** Every step takes a millisecond, so that the number of pauses says how finely the work is cut. */
function countingTurns() {
  const counted = { pauses: 0, nowMs: 0 };
  return {
    counted,
    nowMs: () => counted.nowMs++,
    pause: () => {
      counted.pauses++;
      return Promise.resolve();
    },
  };
}

describe("loading in turns", () => {
  it("gives what loading at once gives, and pauses on the way", async () => {
    const file = fileOf(400, (i) => `to: [{ operation: { methods: [GET], paths: [/thing/${i}] } }]`);
    const turns = countingTurns();
    const inTurns = await loadPoliciesInTurns([file], options, turns);
    const atOnce = loadPolicies([file], options);
    expect(inTurns.policy.version).toBe(atOnce.policy.version);
    expect(inTurns.warnings).toEqual(atOnce.warnings);
    expect(turns.counted.pauses).toBeGreaterThan(100);
  });

  it("reports errors in long lists at their places", async () => {
    const file = fileOf(40, (i) => `to: [{ operation: { paths: [${i === 33 ? "/a/{*" : "/a"}] } }]`);
    const failed = await loadPoliciesInTurns([file], options, countingTurns()).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(CountersignErrors);
    const [first] = (failed as CountersignErrors).errors;
    expect([first?.code, first?.at?.line]).toEqual(["E_POLICY_YAML", 39]);
    const named = fileOf(40, (i) => `to: [{ operation: { ${i === 33 ? "path" : "paths"}: [/a${i}] } }]`);
    expect(() => loadPolicies([named], options)).toThrow(/p\.yaml:39:\d+: E_POLICY_UNKNOWN_KEY/);
  });

  it("takes nothing twice of a file that turns out to need the whole of YAML", () => {
    const [simple, other] = ["a", "b"].map((name) => fileOf(1, () => "{}").text.replace("name: a", `name: ${name}`));
    const text = `${simple}---\n${(other ?? "").replace("rules:", "rules: # caf\u00e9")}`;
    const selects = text.replace("spec:\n", "spec:\n  selector: { matchLabels: { app: x } }\n");
    const { documents, warnings } = loadPolicies([{ file: "p.yaml", text: selects }], options);
    expect(documents.policies.map(({ name }) => name)).toEqual(["a", "b"]);
    expect(warnings.map(({ code }) => code)).toEqual(["W_POLICY_SELECTOR", "W_POLICY_SHADOWED"]);
    const late = selects.replace("# caf\u00e9", "").replace("name: b", "name: &b b");
    expect(loadPolicies([{ file: "p.yaml", text: late }], options).documents.policies).toHaveLength(2);
  });

  it("reads long lists with anchors, comments and several documents as short ones", () => {
    const long = fileOf(20, (i) =>
      i === 0
        ? "to: &all [{ operation: { paths: [/a] } }]"
        : i % 2 === 0
          ? "to: *all # same"
          : `{ from: [{ source: { namespaces: [n${i}] } }] }`,
    );
    const text = `# first\n${long.text}---\n# second\n${long.text.replace("name: a", "name: b")}...\n`;
    const { policy } = loadPolicies([{ file: "p.yaml", text }], options);
    expect(policy.policies.map(({ name, rules }) => [name, rules.length])).toEqual([
      ["a", 20],
      ["b", 20],
    ]);
    expect(policy.policies[1]?.rules[2]?.operations[0]?.[0]?.values).toEqual(["/a"]);
  });
});
