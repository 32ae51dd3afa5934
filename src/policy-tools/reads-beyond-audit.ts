import { ruleIdOf } from "../authz/compile-rule.ts";
import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import type { FieldKind, RuleModel } from "../authz/policy-model.ts";
import type { RuleId } from "../core/decision.ts";

/** What rules may ask and no audit record holds. Of a token it holds issuer and subject. */
const NOT_RECORDED: ReadonlySet<FieldKind> = new Set(["header", "sni", "remoteIp", "audience", "presenter", "claim"]);

/** The rules that may decide otherwise about a call of the audit log than they did about the call itself. */
export function rulesBeyondAudit({ policies }: CompiledPolicy): readonly RuleId[] {
  return policies.flatMap((policy) => policy.rules.filter(asksBeyond).map((rule) => ruleIdOf(policy, rule)));
}

function asksBeyond({ sources, operations, conditions, expression }: RuleModel): boolean {
  return (
    expression !== undefined ||
    [...sources.flat(), ...operations.flat(), ...conditions].some(({ kind }) => NOT_RECORDED.has(kind))
  );
}
