import type { RuleId } from "../core/decision.ts";
import { compileField, type MatcherPool } from "./compile-field.ts";
import type { CompiledGroup, CompiledRule } from "./compiled-policy.ts";
import type { FieldContext } from "./field-context.ts";
import { compileExpression } from "./match-expression.ts";
import { type FieldGroup, isIdentity, type PolicyModel, type RuleModel } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { readsHttp } from "./port-reach.ts";

/** The same text in every output. */
export function ruleIdOf(policy: PolicyModel, rule: RuleModel): RuleId {
  return `ns[${policy.namespace}]-policy[${policy.name}]-rule[${rule.index}]` as RuleId;
}

/** Compiles one rule. `policy` is the one in which it stands, `home` the local trust domain and its aliases. */
export function compileRule(
  policy: PolicyModel,
  rule: RuleModel,
  order: number,
  options: PolicyOptions,
  home: readonly string[],
  pool: MatcherPool,
): CompiledRule {
  const compileGroup = (group: FieldGroup): CompiledGroup => {
    const namesTrustDomain = group.some(({ kind, negated }) => kind === "trustDomain" && !negated);
    const context: FieldContext = {
      mode: options.mode,
      action: policy.action,
      home,
      namesTrustDomain,
      ours: policy.ours,
      outbound: policy.direction === "OUTBOUND",
    };
    return group.map((field) => compileField(field, context, pool));
  };
  const fields = [...rule.sources.flat(), ...rule.conditions];
  const { action, direction } = policy;
  const about = { options, direction, grants: action === "ALLOW", home };
  const expression = rule.expression === undefined ? undefined : compileExpression(rule.expression.text, about);
  return {
    id: ruleIdOf(policy, rule),
    policy,
    model: rule,
    order,
    action,
    sources: rule.sources.map(compileGroup),
    operations: rule.operations.map(compileGroup),
    conditions: compileGroup(rule.conditions),
    expression,
    readsHttp: readsHttp(rule) || expression?.readsHttp === true,
    namesIdentity: fields.some(({ kind }) => isIdentity(kind)),
  };
}
