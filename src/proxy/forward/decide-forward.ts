import type { CompiledPolicy } from "../../authz/compiled-policy.ts";
import { decideOutboundCall } from "../../authz/decide.ts";
import type { CallFacts } from "../../core/call-facts.ts";
import type { CallDecision, Decision, ProviderRequest } from "../../core/decision.ts";

/** Decides about a call through the egress proxy. What no OUTBOUND ALLOW policy names is denied: here the app, not the configuration, says
 *  where to go. Conditions about time see the wall clock of now. `shortAuthority`: the authority without its port, where that may be left out. */
export function decideForward(policy: CompiledPolicy, facts: CallFacts, shortAuthority?: string): CallDecision {
  const { connection, request, destinationPrincipals } = facts;
  const principals = destinationPrincipals === undefined ? {} : { destinationPrincipals };
  const call: CallFacts = { connection, request, ...principals, nowMs: Date.now() };
  const decision = decideOutboundCall(policy, call, "deny");
  if (shortAuthority === undefined || request === undefined || policy.options.mode === "strict") return decision;
  // istio mode compares a host with its port or without, as it is written, and the app may write both
  const short = decideOutboundCall(policy, { ...call, request: { ...request, authority: shortAuthority } }, "deny");
  return bothSpellings(decision, short, policy.version);
}

/** What rules that fit either spelling of a host come to: it is one host. */
function bothSpellings(one: CallDecision, other: CallDecision, policyVersion: string): CallDecision {
  const verdicts = [verdictOf(one), verdictOf(other)];
  const denied = verdicts.find((verdict) => verdict.kind === "deny" && verdict.code !== "E_POLICY_DENIED_BY_DEFAULT");
  if (denied !== undefined) return denied;
  const allowed = verdicts.filter(({ kind }) => kind === "allow");
  const decision = allowed.find(({ notes }) => notes?.auditRule !== undefined) ?? allowed[0] ?? verdictOf(one);
  const asked = [one, other].flatMap((some) => (some.kind === "ask" ? some.providers : []));
  const isFirst = ({ provider }: ProviderRequest, i: number): boolean =>
    asked.findIndex((same) => same.provider === provider) === i;
  const [first, ...more] = asked.filter(isFirst);
  return first === undefined ? decision : { kind: "ask", providers: [first, ...more], decision, policyVersion };
}

/** Where nobody would have to be asked. */
function verdictOf(decision: CallDecision): Decision {
  return decision.kind === "ask" ? decision.decision : decision;
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
