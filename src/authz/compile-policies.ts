import { createHash } from "node:crypto";
import type { RuleId } from "../core/decision.ts";
import { compileField, type FieldContext } from "./compile-field.ts";
import type { CompiledGroup, CompiledPolicy, CompiledRule } from "./compiled-policy.ts";
import { pathIndex } from "./path-index.ts";
import type { FieldGroup, PolicyModel, RuleModel } from "./policy-model.ts";
import { isIdentity } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { portsWithoutHttpRules, readsHttp } from "./port-reach.ts";
import { ruleIndex } from "./rule-index.ts";
import { homeTrustDomains } from "./trust-domains.ts";

/** The same text in every output. */
export function ruleIdOf(policy: PolicyModel, rule: RuleModel): RuleId {
  return `ns[${policy.namespace}]-policy[${policy.name}]-rule[${rule.index}]` as RuleId;
}

/** Whether a policy is for this workload (authorization, section 6). */
export function appliesHere(policy: PolicyModel, options: PolicyOptions): boolean {
  const { namespace, labels } = options.workload;
  if (policy.elsewhere || (policy.namespace !== options.rootNamespace && policy.namespace !== namespace)) return false;
  return policy.selector.entries().every(([key, value]) => labels.get(key) === value);
}

/** Compiles checked policies, in their order. `all` includes those that do not apply here. */
export function compilePolicies(all: readonly PolicyModel[], options: PolicyOptions): CompiledPolicy {
  const policies = all.filter((policy) => appliesHere(policy, options));
  const home = homeTrustDomains(options);
  const rules = policies
    .flatMap((policy) => policy.rules.map((rule) => ({ policy, rule })))
    .map(({ policy, rule }, order) => compileRule(policy, rule, order, options, home));
  const models = policies.flatMap((policy) => policy.rules);
  return {
    version: versionOf(all, options),
    options,
    policies,
    policyCount: policies.length,
    ruleCount: rules.length,
    allowPolicyCount: policies.filter(({ action }) => action === "ALLOW").length,
    deny: ruleIndex(rules.filter(({ action }) => action === "DENY")),
    allow: ruleIndex(rules.filter(({ action }) => action === "ALLOW")),
    comparesHosts: models.some(({ operations }) => operations.flat().some(({ kind }) => kind === "host")),
    readsHttp: models.some(readsHttp),
    portsWithoutHttpRules: portsWithoutHttpRules(policies, options),
    paths: pathIndex(pathValues(models), options.mode),
  };
}

function pathValues(rules: readonly RuleModel[]): readonly string[] {
  const fields = rules.flatMap(({ operations }) => operations.flat());
  return fields.flatMap(({ kind, values }) => (kind === "path" ? values : []));
}

function compileRule(
  policy: PolicyModel,
  rule: RuleModel,
  order: number,
  options: PolicyOptions,
  home: readonly string[],
): CompiledRule {
  const compileGroup = (group: FieldGroup): CompiledGroup => {
    const namesTrustDomain = group.some(({ kind, negated }) => kind === "trustDomain" && !negated);
    const context: FieldContext = { mode: options.mode, action: policy.action, home, namesTrustDomain };
    return group.map((field) => compileField(field, context));
  };
  const fields = [...rule.sources.flat(), ...rule.conditions];
  return {
    id: ruleIdOf(policy, rule),
    order,
    action: policy.action,
    sources: rule.sources.map(compileGroup),
    operations: rule.operations.map(compileGroup),
    conditions: compileGroup(rule.conditions),
    readsHttp: readsHttp(rule),
    namesIdentity: fields.some(({ kind }) => isIdentity(kind)),
  };
}

function isTextMap(value: unknown): value is ReadonlyMap<string, string> {
  return value instanceof Map;
}

/** Places in files do not decide anything, so a comment does not change the version. */
function versionOf(policies: readonly PolicyModel[], options: PolicyOptions): string {
  const plain = (key: string, value: unknown): unknown => {
    if (key === "at") return undefined;
    return isTextMap(value) ? [...value].toSorted(([a], [b]) => (a < b ? -1 : 1)) : value;
  };
  const text = JSON.stringify({ policies, options }, plain);
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
