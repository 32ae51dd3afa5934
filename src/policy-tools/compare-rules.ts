import { ruleIdOf } from "../authz/compile-rule.ts";
import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import type { FieldGroup, FieldModel, PolicyModel, RuleModel } from "../authz/policy-model.ts";
import type { RuleId } from "../core/decision.ts";

/** A rule of one or several sets of policies, wherever it stands in them. */
export interface ComparedRule {
  readonly policy: PolicyModel;
  readonly rule: RuleModel;
  /** Its ids in each set: rules that say the same are one. */
  readonly ids: readonly (readonly RuleId[])[];
}

/** The rules about one direction of calls of all sets, those that say the same taken together whatever they are called and however their values
 *  are ordered. In the order of the sets. */
export function compareRules(
  sets: readonly CompiledPolicy[],
  direction: "inbound" | "outbound",
): readonly ComparedRule[] {
  const found = new Map<string, { policy: PolicyModel; rule: RuleModel; ids: RuleId[][] }>();
  for (const [side, { policies }] of sets.entries())
    for (const policy of policies) {
      if (policy.direction.toLowerCase() !== direction) continue;
      for (const rule of policy.rules) {
        const key = ruleKey(policy, rule);
        const known = found.get(key) ?? { policy, rule, ids: sets.map(() => []) };
        known.ids[side]?.push(ruleIdOf(policy, rule));
        found.set(key, known);
      }
    }
  return [...found.values()];
}

/** It is not in every set. */
export function isChanged({ ids }: ComparedRule): boolean {
  return ids.some((those) => those.length === 0);
}

function ruleKey({ action, provider, dryRun }: PolicyModel, rule: RuleModel): string {
  const { sources, operations, conditions, expression } = rule;
  return JSON.stringify([
    action,
    provider ?? null,
    dryRun,
    sources.map(groupKey).toSorted(),
    operations.map(groupKey).toSorted(),
    groupKey(conditions),
    expression?.text ?? null,
  ]);
}

/** Of fields that all must match. */
export function groupKey(group: FieldGroup): string {
  const fields = group.map((field) => JSON.stringify([fieldKey(field), [...new Set(field.values)].toSorted()]));
  return JSON.stringify(fields.toSorted());
}

/** What a field looks at. */
export function fieldKey({ kind, negated, header, claim }: FieldModel): string {
  return JSON.stringify([kind, negated, header, claim ?? null]);
}
