import type { CallFacts } from "../core/call-facts.ts";
import type { Decision, Permit, RuleId } from "../core/decision.ts";
import { viewCall } from "./call-view.ts";
import type { CompiledPolicy, CompiledRule } from "./compiled-policy.ts";
import { nearestRule } from "./nearest-rule.ts";
import { findRule } from "./rule-index.ts";

/** Decides about one inbound call (authorization, section 6): a DENY that matches denies, then an ALLOW that matches allows, else the
 *  call is denied; without any ALLOW policy the default of the options decides. Pure: no clock, no I/O, no throw. The cost
 *  hardly depends on the number of rules, but for a denial by default, which looks for the nearest among a bounded number of rules. */
export function decide(policy: CompiledPolicy, facts: CallFacts): Decision {
  const call = viewCall(facts, policy.comparesHosts ? policy.options.mode : undefined);
  const deny = findRule(policy.deny, call);
  if (deny !== undefined) return deniedByRule(policy, deny, call.connection.hasPeer);
  if (policy.allowPolicyCount === 0) return byDefault(policy);
  const allow = findRule(policy.allow, call);
  if (allow !== undefined) return { kind: "allow", permit: permit(policy, allow.id), reason: "rule" };
  const nearest = nearestRule(policy.allow, call);
  return {
    kind: "deny",
    code: "E_POLICY_DENIED_BY_DEFAULT",
    rule: undefined,
    reason:
      nearest === undefined
        ? "no ALLOW rule matched, and none could: the ALLOW policies have no rules"
        : `no ALLOW rule matched; nearest ${nearest.rule}: ${nearest.field} wants ${nearest.expected}, call had ${nearest.actual}`,
    nearest,
    policyVersion: policy.version,
  };
}

/** Decides about one call to a configured outbound destination. This version has no OUTBOUND policies, so all of them
 *  are allowed; the Permit still comes from here, as no byte leaves without one. */
export function decideOutbound(policy: CompiledPolicy, _facts: CallFacts): Decision {
  return { kind: "allow", permit: permit(policy, undefined), reason: "no-policy" };
}

/** Whether some rule looks at HTTP in calls to the app's port (to any port when none is given). Where the protocol is sniffed, bytes
 *  that are not HTTP must then be refused: the caller must not choose which rules see it (authorization, section 7). */
export function policyReadsHttp(policy: CompiledPolicy, appPort?: number): boolean {
  return policy.readsHttp && (appPort === undefined || !policy.portsWithoutHttpRules.has(appPort));
}

function permit(policy: CompiledPolicy, rule: RuleId | undefined): Permit {
  return { policyVersion: policy.version, rule } as Permit;
}

function byDefault(policy: CompiledPolicy): Decision {
  if (policy.options.default === "allow") {
    return {
      kind: "allow",
      permit: permit(policy, undefined),
      reason: policy.policyCount === 0 ? "no-policy" : "default",
    };
  }
  return {
    kind: "deny",
    code: "E_POLICY_DENIED_BY_DEFAULT",
    rule: undefined,
    reason: "no ALLOW policy applies to this workload, and the default is to deny",
    nearest: undefined,
    policyVersion: policy.version,
  };
}

function deniedByRule(policy: CompiledPolicy, rule: CompiledRule, hasPeer: boolean): Decision {
  const because =
    !hasPeer && rule.namesIdentity && policy.options.mode === "strict"
      ? "; the rule names an identity and the caller has none"
      : "";
  return {
    kind: "deny",
    code: "E_POLICY_DENIED_BY_RULE",
    rule: rule.id,
    reason: `DENY rule ${rule.id} matched${because}`,
    nearest: undefined,
    policyVersion: policy.version,
  };
}
