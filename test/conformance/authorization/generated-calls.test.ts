import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { CompiledPolicy } from "../../../src/authz/compiled-policy.ts";
import { decideCall, decideOutboundCall } from "../../../src/authz/decide.ts";
import { explainDecision } from "../../../src/authz/explain-decision.ts";
import { loadPackedPolicies, loadPolicies, openPackedPolicy } from "../../../src/authz/load-policies.ts";
import type { CallFacts } from "../../../src/core/call-facts.ts";
import type { CallDecision, Decision } from "../../../src/core/decision.ts";
import { COMPARED_FIELDS } from "../../support/compared-fields.ts";
import { decideLinear, type LinearDecision } from "./decide-linear.ts";
import {
  call,
  type Document,
  inboundPolicies,
  istioInboundPolicies,
  meanings,
  optionsOf,
  outboundPolicies,
  textOf,
} from "./generate-policies.ts";
import "../../../src/authz/use-cel.ts";

/** Pairs of policies and a call for each mode and direction; AUTHZ_PAIRS asks for more. */
const PAIRS = Number(process.env["AUTHZ_PAIRS"] ?? 6_000);
const CALLS = PAIRS > 20_000 ? 50 : 10;

const FIELDS = [...COMPARED_FIELDS, "expression"] as const;

const byDefault = fc.constantFrom("allow" as const, "deny" as const);
const calls = fc.array(call, { minLength: CALLS, maxLength: CALLS });

function load(documents: readonly Document[], mode: "strict" | "istio", fallback: "allow" | "deny"): CompiledPolicy {
  const files = documents.length === 0 ? [] : [{ file: "p.yaml", text: textOf(documents) }];
  return loadPolicies(files, optionsOf(mode, fallback)).policy;
}

function plainOf(made: CallDecision): LinearDecision {
  const asked = made.kind === "ask" ? made.providers.map(({ provider, rule }) => `${provider} by ${rule}`) : [];
  return { ...plain(made.kind === "ask" ? made.decision : made), ask: asked };
}

function plain(decision: Decision): LinearDecision {
  const rule = decision.kind === "allow" ? decision.permit.rule : decision.rule;
  const { dryRun, auditRule } = decision.notes ?? {};
  const { kind } = decision;
  return { kind, rule, ask: [], audit: auditRule, dryRun: dryRun && [dryRun.verdict, dryRun.rule] };
}

/** A decision with all that it says. */
function plainTrace(policy: CompiledPolicy, facts: CallFacts, side?: Parameters<typeof explainDecision>[2]): unknown {
  return JSON.parse(JSON.stringify(explainDecision(policy, facts, side)));
}

describe.each([
  ["strict", inboundPolicies],
  ["istio", istioInboundPolicies],
] as const)("decisions in %s mode", (mode, inbound) => {
  it("are those of a plain evaluation of every rule: verdict, rule, providers, audit and dry-run", {
    timeout: 3_600_000,
  }, () => {
    const counted = { allow: 0, deny: 0 };
    fc.assert(
      fc.property(inbound, byDefault, calls, (documents, fallback, all) => {
        const policy = load(documents, mode, fallback);
        for (const facts of all) {
          const decision = plainOf(decideCall(policy, facts));
          counted[decision.kind]++;
          expect(decision).toEqual(decideLinear(policy, facts, { meanings }));
        }
      }),
      { numRuns: Math.ceil(PAIRS / CALLS) },
    );
    const share = counted.allow / (counted.allow + counted.deny);
    // A generator that nearly always gives the same verdict would prove nothing.
    expect(share).toBeGreaterThan(0.2);
    expect(share).toBeLessThan(0.8);
  });

  it("each depend on every kind of field often enough to prove something about it", () => {
    const decides = new Map<string, number>();
    let pairs = 0;
    fc.assert(
      fc.property(inbound, byDefault, calls, (documents, fallback, all) => {
        const policy = load(documents, mode, fallback);
        for (const facts of all) {
          pairs++;
          const whole = JSON.stringify(decideLinear(policy, facts, { meanings }));
          for (const kind of FIELDS) {
            const other = JSON.stringify(decideLinear(policy, facts, { meanings, without: kind }));
            if (other !== whole) decides.set(kind, (decides.get(kind) ?? 0) + 1);
          }
        }
      }),
      { numRuns: 200, seed: 7 },
    );
    const rare = FIELDS.filter((kind) => (decides.get(kind) ?? 0) < pairs / 100);
    expect(rare, JSON.stringify([...decides].map(([kind, count]) => [kind, count / pairs]))).toEqual([]);
  });

  it("about outbound calls are those of a plain evaluation as well", { timeout: 3_600_000 }, () => {
    const counted = { allow: 0, deny: 0 };
    fc.assert(
      fc.property(outboundPolicies, byDefault, calls, (documents, fallback, all) => {
        const policy = load(documents, mode, "deny");
        for (const facts of all) {
          const { kind, rule, ask } = plainOf(decideOutboundCall(policy, facts, fallback));
          counted[kind]++;
          const expected = decideLinear(policy, facts, { direction: "outbound", fallback, meanings });
          expect([kind, rule, ask]).toEqual([expected.kind, expected.rule, expected.ask]);
        }
      }),
      { numRuns: Math.ceil(PAIRS / CALLS) },
    );
    const share = counted.allow / (counted.allow + counted.deny);
    expect(share).toBeGreaterThan(0.2);
    expect(share).toBeLessThan(0.8);
  });

  it("are the same, with their reasons and trees, of a set that another thread compiled", () => {
    const documents = fc.oneof(inbound, outboundPolicies);
    fc.assert(
      fc.property(documents, byDefault, calls, (some, fallback, all) => {
        const files = some.length === 0 ? [] : [{ file: "p.yaml", text: textOf(some) }];
        const options = optionsOf(mode, fallback);
        const { policy } = loadPolicies(files, options);
        const packed = openPackedPolicy(structuredClone(loadPackedPolicies(files, options).packed));
        const connections = all.map(({ connection }) => ({ ...connection }));
        for (const [i, facts] of all.entries()) {
          const same = { ...facts, connection: connections[i] ?? facts.connection };
          for (const side of [undefined, { direction: "outbound", fallback }] as const)
            expect(plainTrace(packed, same, side)).toEqual(plainTrace(policy, facts, side));
        }
        expect(packed.policies.map(({ rules, ...rest }) => ({ ...rest, rules }))).toEqual(policy.policies);
      }),
      { numRuns: 60 },
    );
  });

  it("are explained by a tree that says the same", () => {
    fc.assert(
      fc.property(inbound, byDefault, calls, (documents, fallback, all) => {
        const policy = load(documents, mode, fallback);
        for (const facts of all) {
          const { decision, steps } = explainDecision(policy, facts);
          const expected = decideLinear(policy, facts, { meanings });
          const first = (action: string) => steps.find((step) => step.action === action)?.rule;
          const verdict = decision.kind === "ask" ? decision.decision : decision;
          expect(verdict.kind).toBe(expected.kind);
          expect(first("DENY") ?? first("ALLOW")).toBe(first("DENY") ?? expected.rule ?? first("ALLOW"));
          if (expected.rule !== undefined) expect([first("DENY"), first("ALLOW")]).toContain(expected.rule);
          expect(first("AUDIT")).toBe(expected.audit);
        }
      }),
      { numRuns: 100 },
    );
  });
});
