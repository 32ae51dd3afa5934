import type { RuleId } from "../core/decision.ts";
import type { CompiledField, CompiledRule } from "./compiled-policy.ts";
import type { PolicyModel } from "./policy-model.ts";

/** The rules of a set of policies by their number, which is their place in the order of the files. Decisions know rules by it: what a rule is made
 *  of may be made when it is first asked for. */
export interface RuleStore {
  readonly count: number;
  /** Those that apply to this workload. */
  readonly policies: readonly PolicyModel[];
  idOf(rule: number): RuleId;
  ruleAt(rule: number): CompiledRule;
}

/** All of a rule's fields in one order, by which a field has a number. */
export function fieldsOf({ sources, operations, conditions }: CompiledRule): readonly CompiledField[] {
  return [...sources.flat(), ...operations.flat(), ...conditions];
}

/** Rules that are all there. */
export function listedRules(policies: readonly PolicyModel[], rules: readonly CompiledRule[]): RuleStore {
  // Side by side: a decision that allows wants nothing else of a rule.
  const ids = rules.map(({ id }) => id);
  return {
    count: rules.length,
    policies,
    idOf: (rule) => found(ids[rule], rule),
    ruleAt: (rule) => found(rules[rule], rule),
  };
}

function found<T>(value: T | undefined, rule: number): T {
  if (value === undefined) throw new TypeError(`there is no rule ${rule}`);
  return value;
}
