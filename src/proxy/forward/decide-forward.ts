import type { CompiledPolicy } from "../../authz/compiled-policy.ts";
import { decideOutboundCall } from "../../authz/decide.ts";
import type { CallFacts } from "../../core/call-facts.ts";
import type { CallDecision } from "../../core/decision.ts";

/** Decides about a call through the egress proxy. What no OUTBOUND ALLOW policy names is denied: here the app, not the configuration, says
 *  where to go. Conditions about time see the wall clock of now. `shortAuthority`: the authority without its port, where that may be left out;
 *  istio mode, which compares hosts as they are written, then means both. */
export function decideForward(policy: CompiledPolicy, facts: CallFacts, shortAuthority?: string): CallDecision {
  const { connection, destinationPrincipals } = facts;
  const hasOther = shortAuthority !== undefined && policy.options.mode === "istio" && facts.request !== undefined;
  const request = hasOther ? { ...facts.request, shortAuthority } : facts.request;
  const principals = destinationPrincipals === undefined ? {} : { destinationPrincipals };
  return decideOutboundCall(policy, { connection, request, ...principals, nowMs: Date.now() }, "deny");
}

/** What is left of a decision once these providers have allowed the call. */
export function stillToAsk(decision: CallDecision, allowed: ReadonlySet<string>): CallDecision {
  if (decision.kind !== "ask") return decision;
  const [first, ...more] = decision.providers.filter(({ provider }) => !allowed.has(provider));
  return first === undefined ? decision.decision : { ...decision, providers: [first, ...more] };
}

/** Whether some rule may have a provider asked once the destination's address is known. */
export function asksByAddress({ outbound }: CompiledPolicy): boolean {
  return outbound.custom.some(({ addressRule }) => addressRule !== undefined);
}

/** A decision about a request to a name, which is made before the address is known: where rules about addresses may have providers asked,
 *  the call waits for that. */
export function untilAddressIsKnown(
  { outbound, version }: CompiledPolicy,
  { connection }: CallFacts,
  decision: CallDecision,
): CallDecision {
  if (outbound.custom.length === 0 || decision.kind !== "allow" || connection.destinationIp !== "") return decision;
  const [first, ...more] = outbound.custom.flatMap(({ provider, addressRule }) =>
    addressRule === undefined ? [] : [{ provider, rule: addressRule }],
  );
  return first === undefined
    ? decision
    : { kind: "ask", providers: [first, ...more], decision, policyVersion: version };
}
