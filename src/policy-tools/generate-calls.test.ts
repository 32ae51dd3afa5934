import { describe, expect, it } from "vitest";
import { strictPolicyOptions } from "../../test/support/strict-policy-options.ts";
import { loadPolicies } from "../authz/load-policies.ts";
import { compareRules, isChanged } from "./compare-rules.ts";
import { generateCalls } from "./generate-calls.ts";

const setOf = (...paths: readonly string[]) => {
  const rules = paths.map((path) => ({ to: [{ operation: { paths: [path] } }] }));
  const document = { apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy", spec: { rules } };
  const text = JSON.stringify({ ...document, metadata: { name: "a", namespace: "shop" } });
  return loadPolicies([{ file: "p.yaml", text }], strictPolicyOptions()).policy;
};
const names = Array.from({ length: 100 }, (_, i) => `/p${i}`);
const before = setOf(...names);
const after = setOf(...names, "/new");
const rules = compareRules([before, after], "inbound");
const made = (count: number, seed?: number) => [...generateCalls([before, after], rules, count, "inbound", seed)];

describe("made-up calls", () => {
  it("are the same for the same policies and seed, and others for another", () => {
    expect(made(2000)).toEqual(made(2000));
    expect(made(2000, 2)).not.toEqual(made(2000));
  });

  it.each([1, 50, 2000])("are %i at most", (count) => {
    expect(made(count).length).toBeLessThanOrEqual(count);
    expect(made(count).length).toBeGreaterThan(count * 0.9);
  });

  it("begin with what is not the same on both sides, as few as they are", () => {
    const [first] = made(10);
    expect(first?.rule === undefined ? undefined : isChanged(first.rule)).toBe(true);
    expect(first?.call.request?.path).toBe("/new");
  });

  it("are shared evenly by the rules that are the same", () => {
    const counts = new Map<unknown, number>();
    for (const { rule } of made(4000))
      if (rule !== undefined && !isChanged(rule)) counts.set(rule, (counts.get(rule) ?? 0) + 1);
    expect(counts.size).toBe(100);
    const all = [...counts.values()];
    expect(Math.max(...all) - Math.min(...all)).toBeLessThan(6);
  });
});
