import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { atOnce } from "../../../src/authz/at-once.ts";
import { comparableRules } from "../../../src/authz/comparable-rules.ts";
import type { CompiledPolicy } from "../../../src/authz/compiled-policy.ts";
import { loadPolicies } from "../../../src/authz/load-policies.ts";
import type { PolicyModel, RuleModel } from "../../../src/authz/policy-model.ts";
import { coverMaker, ruleCovers } from "../../../src/authz/rule-cover.ts";
import { homeTrustDomains } from "../../../src/authz/trust-domains.ts";
import { decideLinear } from "./decide-linear.ts";
import {
  call,
  type Document,
  inboundPolicies,
  meanings,
  optionsOf,
  outboundPolicies,
  textOf,
} from "./generate-policies.ts";
import { naiveBlocker, naiveShadow } from "./naive-cover.ts";
import "../../../src/authz/use-cel.ts";

// What a load and `policy lint` say about two rules rests on these two: that a rule covers another, and that the index finds those which do.

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
        const maker = coverMaker(HOME);
        const rules = rulesOf(policy).map((one) => ({ ...one, cover: maker.rule(one.rule, one.policy.ours) }));
        const matched = rules.map((one) => {
          const alone = { ...policy, policies: [{ ...one.policy, rules: [one.rule] }] };
          const fallback = one.policy.action === "ALLOW" ? "deny" : "allow";
          return all.map((facts) => decideLinear(alone, facts, { meanings, fallback }).rule !== undefined);
        });
        for (const [w, wide] of rules.entries())
          for (const [n, narrow] of rules.entries()) {
            // Lint asks so of one action, and whether a DENY takes an ALLOW back.
            const isAsked = wide.policy.action === narrow.policy.action || wide.policy.action === "DENY";
            if (!isAsked || w === n || !ruleCovers(wide.cover, narrow.cover, { left: 1e9 })) continue;
            const missed = all.filter((_, i) => matched[n]?.[i] === true && matched[w]?.[i] !== true);
            expect(missed, JSON.stringify([wide.rule, narrow.rule])).toEqual([]);
            if (matched[n]?.includes(true) === true) proved++;
          }
      }),
      { numRuns: 300 },
    );
    expect(proved).toBeGreaterThan(200);
  });

  it("each rule's first wider one and first DENY are found, as by comparing each with all", {
    timeout: 120_000,
  }, () => {
    const seen = { shadows: 0, blockers: 0, beyond: 0 };
    const labels = fc.array(fc.constantFrom({}, { app: "orders" }, { app: "orders", tier: "a" }, { tier: "b" }), {
      minLength: 4,
      maxLength: 4,
    });
    const both = fc.tuple(inboundPolicies, outboundPolicies).map((some) => some.flat());
    fc.assert(
      fc.property(both, labels, (documents, selectors) => {
        const { rules, all } = compared(documents, selectors, mode);
        for (const [i, one] of all.rules.entries()) {
          const meter = { left: Number.POSITIVE_INFINITY };
          const [shadow, blocker] = [all.shadowOf(one, meter), all.blockerOf(one, meter)];
          expect(shadow?.order, JSON.stringify([one.rule, shadow?.rule])).toBe(naiveShadow(rules, i, HOME));
          expect(blocker?.order, JSON.stringify([one.rule, blocker?.rule])).toBe(naiveBlocker(rules, i, HOME));
          if (shadow !== undefined) seen.shadows++;
          if (shadow !== undefined && shadow.policy !== one.policy) seen.beyond++;
          if (blocker !== undefined) seen.blockers++;
        }
      }),
      { numRuns: 1_500 },
    );
    expect(seen.shadows).toBeGreaterThan(200);
    expect(seen.beyond).toBeGreaterThan(10);
    expect(seen.blockers).toBeGreaterThan(10);
  });
});

/** All rules of the documents, some of which select workloads by the labels. */
function compared(documents: readonly Document[], selectors: readonly object[], mode: "strict" | "istio") {
  const options = optionsOf(mode, "deny");
  const selecting = documents.map((document, i) => ({
    ...document,
    spec: { ...document.spec, selector: { matchLabels: selectors[i % selectors.length] ?? {} } },
  }));
  const files = documents.length === 0 ? [] : [{ file: "p.yaml", text: textOf(selecting) }];
  const { policies } = loadPolicies(files, options).documents;
  const all = atOnce(comparableRules(policies, options));
  return { rules: policies.flatMap((policy) => policy.rules.map((rule) => ({ policy, rule }))), all };
}
