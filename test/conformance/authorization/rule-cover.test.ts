import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { CompiledPolicy } from "../../../src/authz/compiled-policy.ts";
import { loadPolicies } from "../../../src/authz/load-policies.ts";
import type { PolicyModel, RuleModel } from "../../../src/authz/policy-model.ts";
import { ruleCovers } from "../../../src/authz/rule-cover.ts";
import { homeTrustDomains } from "../../../src/authz/trust-domains.ts";
import { coverIndex } from "../../../src/policy-tools/cover-index.ts";
import { decideLinear } from "./decide-linear.ts";
import { call, inboundPolicies, meanings, optionsOf, textOf } from "./generate-policies.ts";
import "../../../src/authz/use-cel.ts";

// What `policy lint` says about two rules rests on these two: that a rule covers another, and that the index finds those which do.

const HOME = homeTrustDomains(optionsOf("strict", "deny"));

interface Placed {
  readonly policy: PolicyModel;
  readonly rule: RuleModel;
}

/** Those that lint compares, not more than can be asked of many calls. */
function rulesOf({ policies }: CompiledPolicy): readonly Placed[] {
  return policies
    .filter(({ action }) => action === "ALLOW" || action === "DENY")
    .flatMap((policy) => policy.rules.map((rule) => ({ policy: { ...policy, dryRun: false }, rule })));
}

const load = (text: string, mode: "strict" | "istio") =>
  loadPolicies(text === "" ? [] : [{ file: "p.yaml", text }], optionsOf(mode, "deny")).policy;

describe.each(["strict", "istio"] as const)("in %s mode", (mode) => {
  it("a rule that covers another one matches each call that the other matches", { timeout: 120_000 }, () => {
    let proved = 0;
    const calls = fc.array(call, { minLength: 40, maxLength: 40 });
    fc.assert(
      fc.property(inboundPolicies, calls, (documents, all) => {
        const policy = load(textOf(documents), mode);
        const rules = rulesOf(policy);
        const matched = rules.map((one) => {
          const alone = { ...policy, policies: [{ ...one.policy, rules: [one.rule] }] };
          const fallback = one.policy.action === "ALLOW" ? "deny" : "allow";
          return all.map((facts) => decideLinear(alone, facts, { meanings, fallback }).rule !== undefined);
        });
        for (const [w, wide] of rules.entries())
          for (const [n, narrow] of rules.entries()) {
            // Lint asks so of one action, and whether a DENY takes an ALLOW back.
            const isAsked = wide.policy.action === narrow.policy.action || wide.policy.action === "DENY";
            if (!isAsked || w === n || !ruleCovers(wide.rule, narrow.rule, HOME)) continue;
            const missed = all.filter((_, i) => matched[n]?.[i] === true && matched[w]?.[i] !== true);
            expect(missed, JSON.stringify([wide, narrow])).toEqual([]);
            if (matched[n]?.includes(true) === true) proved++;
          }
      }),
      { numRuns: 300 },
    );
    expect(proved).toBeGreaterThan(200);
  });

  it("the index finds every rule that covers another one", () => {
    let found = 0;
    fc.assert(
      fc.property(inboundPolicies, (documents) => {
        const rules = rulesOf(load(textOf(documents), mode));
        const index = coverIndex(rules, ({ rule }) => rule, HOME);
        for (const narrow of rules) {
          const candidates = new Set([...index.candidates(narrow.rule)].flat());
          for (const wide of rules) {
            if (!ruleCovers(wide.rule, narrow.rule, HOME)) continue;
            expect(candidates.has(wide), JSON.stringify([wide, narrow])).toBe(true);
            if (wide !== narrow) found++;
          }
        }
      }),
      { numRuns: 300 },
    );
    expect(found).toBeGreaterThan(200);
  });
});
