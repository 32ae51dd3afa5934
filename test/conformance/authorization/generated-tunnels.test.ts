import fc from "fast-check";
import { expect, it } from "vitest";
import type { CompiledPolicy } from "../../../src/authz/compiled-policy.ts";
import { viewOf } from "../../../src/authz/decide.ts";
import { loadPolicies } from "../../../src/authz/load-policies.ts";
import { FITS_ALL, FITS_NONE, fitOf, looksIntoTunnels } from "../../../src/authz/request-fit.ts";
import { ruleAboutRequests } from "../../../src/authz/request-rules.ts";
import type { CallFacts } from "../../../src/core/call-facts.ts";
import { decideLinear, type LinearDecision } from "./decide-linear.ts";
import { call, meanings, optionsOf, outboundPolicies, textOf } from "./generate-policies.ts";
import "../../../src/authz/use-cel.ts";

/** Pairs of policies and a call for each mode; AUTHZ_PAIRS asks for more. */
const PAIRS = Number(process.env["AUTHZ_PAIRS"] ?? 6_000);
const CALLS = 10;

/** A call's own tunnel. */
const tunnelOf = (facts: CallFacts, authority: string): CallFacts => ({
  ...facts,
  request: { method: "CONNECT", authority, path: "", headers: [] },
});

/** The same rule, by asking all of them. */
function firstOfAll(policy: CompiledPolicy, tunnel: CallFacts): string | undefined {
  const { destinationPrincipals: principals = [] } = tunnel;
  const all = Array.from({ length: policy.ruleCount }, (_, number) => policy.memory.rules.ruleAt(number));
  const rules = all.filter((rule) => rule.policy.direction === "OUTBOUND" && !rule.policy.dryRun);
  for (const principal of principals.length === 0 ? [""] : principals) {
    const call = viewOf(policy, tunnel, principal);
    const isOpen = rules.some((rule) => rule.action === "ALLOW" && fitOf(rule, call) === FITS_ALL);
    const found = rules.find(
      (rule) => looksIntoTunnels(rule) && fitOf(rule, call) !== FITS_NONE && !(isOpen && rule.action === "ALLOW"),
    );
    if (found !== undefined) return found.id;
  }
  return undefined;
}

it.each(["strict", "istio"] as const)(
  "in %s mode what goes unread in a tunnel is refused by no rule, were it read, and asked about by none that was not asked",
  { timeout: 3_600_000 },
  (mode) => {
    const counted = { named: 0, free: 0 };
    const property = fc.property(
      outboundPolicies,
      fc.array(call, { minLength: CALLS, maxLength: CALLS }),
      (made, all) => {
        const files = made.length === 0 ? [] : [{ file: "p.yaml", text: textOf(made) }];
        const { policy } = loadPolicies(files, optionsOf(mode, "deny"));
        const decide = (facts: CallFacts): LinearDecision =>
          decideLinear(policy, facts, { direction: "outbound", fallback: "deny", meanings });
        for (const facts of all) {
          if (facts.request === undefined) continue;
          const tunnel = tunnelOf(facts, facts.request.authority);
          const admitted = decide(tunnel);
          if (admitted.kind === "deny") continue;
          const rule = ruleAboutRequests(policy, tunnel);
          expect(rule).toBe(firstOfAll(policy, tunnel));
          counted[rule === undefined ? "free" : "named"]++;
          if (rule !== undefined) continue;
          const read = decide(facts);
          expect([
            read.kind === "deny" ? read.rule : undefined,
            read.ask.filter((one) => !admitted.ask.includes(one)),
          ]).toEqual([undefined, []]);
        }
      },
    );
    fc.assert(property, { numRuns: Math.ceil(PAIRS / CALLS) });
    expect(Math.min(counted.named, counted.free)).toBeGreaterThan((counted.named + counted.free) / 10);
  },
);
