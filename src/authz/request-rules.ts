import type { CallFacts } from "../core/call-facts.ts";
import type { RuleId } from "../core/decision.ts";
import type { BuildingMemory } from "./building-memory.ts";
import type { CompiledPolicy, CompiledRule } from "./compiled-policy.ts";
import { viewOf } from "./decide.ts";
import { buildDestinationIndex, type DestinationIndex, rulesForDestination } from "./destination-index.ts";
import { FITS_ALL, FITS_NONE, fitOf, looksIntoTunnels, mayAllowTunnels } from "./request-fit.ts";

/** The rules that decide about tunnels whose bytes nobody reads. */
export interface RequestRules {
  /** Those that look at requests. */
  readonly asking: DestinationIndex;
  /** Those that allow all requests there are, at some destinations. */
  readonly open: DestinationIndex;
}

/** `rules`: those about outbound calls. */
export function* buildRequestRules(
  rules: readonly CompiledRule[],
  memory: BuildingMemory,
): Generator<void, RequestRules> {
  return {
    asking: yield* buildDestinationIndex(rules.filter(looksIntoTunnels), memory),
    open: yield* buildDestinationIndex(rules.filter(mayAllowTunnels), memory),
  };
}

/** The first OUTBOUND rule that looks at requests and may apply to some that a tunnel could carry, where the proxy cannot read what it carries:
 *  the caller must not choose which rules see it (authorization, section 7). undefined: none, or an ALLOW rule lets everything through that goes to
 *  this destination. `facts`: the tunnel, as the request CONNECT, at its address. */
export function ruleAboutRequests(policy: CompiledPolicy, facts: CallFacts): RuleId | undefined {
  const { memory } = policy;
  const { asking, open } = policy.requestRules;
  const { destinationPrincipals: principals = [] } = facts;
  for (const principal of principals.length === 0 ? [""] : principals) {
    const call = viewOf(policy, facts, principal);
    let isOpen: boolean | undefined;
    for (const number of rulesForDestination(asking, memory, call)) {
      const rule = memory.rules.ruleAt(number);
      if (fitOf(rule, call) === FITS_NONE) continue;
      if (rule.action !== "ALLOW") return rule.id;
      // what one of them allows whatever is in it, no other one limits
      isOpen ??= rulesForDestination(open, memory, call).some(
        (other) => fitOf(memory.rules.ruleAt(other), call) === FITS_ALL,
      );
      if (!isOpen) return rule.id;
    }
  }
  return undefined;
}
