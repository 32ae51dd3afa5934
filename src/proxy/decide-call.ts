import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import { decideCall, decideOutboundCall } from "../authz/decide.ts";
import { checkOutboundPath, comparedOutboundPath } from "../authz/normalize-for-policy.ts";
import type { ExpectedIdentity } from "../config/sidecar-config.ts";
import type { CallFacts } from "../core/call-facts.ts";
import type { CallDecision } from "../core/decision.ts";
import { CountersignError } from "../core/errors.ts";

/** Decides about a call to our app, at the time of now where policies ask for it. */
export function decideInboundNow(policy: CompiledPolicy, facts: CallFacts): CallDecision {
  return decideCall(policy, policy.dependsOnTime ? { ...facts, nowMs: Date.now() } : facts);
}

/** Decides about a call to a configured destination, likewise. `destinationPrincipals`: see principalsOf. */
export function decideConfiguredNow(
  policy: CompiledPolicy,
  facts: CallFacts,
  destinationPrincipals: readonly string[],
): CallDecision {
  if (policy.outbound.policyCount === 0) return decideOutboundCall(policy, facts);
  return decideOutboundCall(policy, { ...facts, destinationPrincipals, nowMs: Date.now() });
}

/** Whom a configured destination must prove to be, as policies write it. */
export function principalsOf(expected: readonly ExpectedIdentity[]): readonly string[] {
  return expected.map(({ pattern }) => pattern.slice("spiffe://".length));
}

/** The path of an outbound request as OUTBOUND policies compare it, or why it is refused for it. What goes out is the path as it came. */
export function outboundPath(policy: CompiledPolicy, path: string, query: string): string | CountersignError {
  if (policy.outbound.policyCount === 0) return comparedOutboundPath(policy, path);
  const checked = checkOutboundPath(policy, path, query);
  return checked.ok ? checked.path : new CountersignError(checked.code, checked.reason);
}

/** Why an open call may not go on for its path, by the policy in force: a new call would be refused for it, or the path that went on is not what policy
 *  compares any more. */
export function openPathProblem(path: string, now: string | CountersignError): CountersignError | undefined {
  if (now === path) return undefined;
  const detail = "the path went on in another form than policies compare now";
  return now instanceof CountersignError ? now : new CountersignError("E_PATH_AMBIGUOUS", detail);
}
