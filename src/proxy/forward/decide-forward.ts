import type { CompiledPolicy } from "../../authz/compiled-policy.ts";
import { decideOutbound } from "../../authz/decide.ts";
import type { CallFacts } from "../../core/call-facts.ts";
import type { Decision } from "../../core/decision.ts";

/** Decides about a call through the egress proxy. What no OUTBOUND ALLOW policy names is denied: here the app, not the configuration, says
 *  where to go. Conditions about time see the wall clock of now. */
export function decideForward(policy: CompiledPolicy, facts: CallFacts): Decision {
  const { connection, request, destinationPrincipals } = facts;
  const principals = destinationPrincipals === undefined ? {} : { destinationPrincipals };
  return decideOutbound(policy, { connection, request, ...principals, nowMs: Date.now() }, "deny");
}
