import type { CallFacts } from "../core/call-facts.ts";
import type { RuleId } from "../core/decision.ts";
import type { BuildingMemory } from "./building-memory.ts";
import type { CallView } from "./call-view.ts";
import type { CompiledPolicy, CompiledRule } from "./compiled-policy.ts";
import { viewOf } from "./decide.ts";
import { buildDestinationIndex, type DestinationIndex, firstForDestination } from "./destination-index.ts";
import { FITS_ALL, FITS_NONE, type Fit, fitOf, looksIntoTunnels, mayAllowTunnels } from "./request-fit.ts";

/** The rules that decide about tunnels whose bytes nobody reads. */
export interface RequestRules {
  /** Those that look at requests and refuse some, or have somebody asked about them. */
  readonly refusing: DestinationIndex;
  /** Those that look at requests and allow some. */
  readonly limiting: DestinationIndex;
  /** Those that allow all requests there are, at some destinations. */
  readonly open: DestinationIndex;
}

/** `rules`: those about outbound calls. */
export function* buildRequestRules(
  rules: readonly CompiledRule[],
  memory: BuildingMemory,
): Generator<void, RequestRules> {
  const asking = rules.filter(looksIntoTunnels);
  const isAllow = ({ action }: CompiledRule): boolean => action === "ALLOW";
  return {
    refusing: yield* buildDestinationIndex(
      asking.filter((rule) => !isAllow(rule)),
      memory,
    ),
    limiting: yield* buildDestinationIndex(asking.filter(isAllow), memory),
    open: yield* buildDestinationIndex(rules.filter(mayAllowTunnels), memory),
  };
}

/** The first OUTBOUND rule that looks at requests and may apply to some that a tunnel could carry, where the proxy cannot read what it carries:
 *  the caller must not choose which rules see it (authorization, section 7). undefined: none, or an ALLOW rule lets everything through that goes to
 *  this destination. `facts`: the tunnel, as the request CONNECT, at its address. */
export function ruleAboutRequests(policy: CompiledPolicy, facts: CallFacts): RuleId | undefined {
  const { rules } = policy.memory;
  const { destinationPrincipals: principals = [] } = facts;
  for (const principal of principals.length === 0 ? [""] : principals) {
    const found = firstRule(policy, viewOf(policy, facts, principal));
    if (found !== undefined) return rules.ruleAt(found).id;
  }
  return undefined;
}

function firstRule({ memory, requestRules }: CompiledPolicy, call: CallView): number | undefined {
  const { refusing, limiting, open } = requestRules;
  const fitOfRule = (rule: number): Fit => fitOf(memory.rules.ruleAt(rule), call);
  const mayFit = (rule: number): boolean => fitOfRule(rule) !== FITS_NONE;
  const refusal = firstForDestination(refusing, memory, call, mayFit);
  const limit = firstForDestination(limiting, memory, call, mayFit);
  if (limit === undefined || (refusal !== undefined && refusal < limit)) return refusal;
  // what one of them allows whatever is in it, no other one limits
  const isOpen = firstForDestination(open, memory, call, (rule) => fitOfRule(rule) === FITS_ALL) !== undefined;
  return isOpen ? refusal : limit;
}
