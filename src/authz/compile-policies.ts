import { createHash } from "node:crypto";
import type { RuleId } from "../core/decision.ts";
import { byAge } from "./authentication.ts";
import type { PeerAuthenticationModel, RequestAuthenticationModel } from "./authentication-model.ts";
import { compileField, type FieldContext, type MatcherPool } from "./compile-field.ts";
import type { CompiledGroup, CompiledPolicy, CompiledRule, RuleSet } from "./compiled-policy.ts";
import { compileExpression } from "./match-expression.ts";
import { buildPathIndex } from "./path-index.ts";
import type { FieldGroup, FieldModel, PolicyModel, RuleModel } from "./policy-model.ts";
import { isIdentity } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { portsWithoutHttpRules, readsHttp } from "./port-reach.ts";
import type { CheckPool } from "./rule-check.ts";
import { buildRuleIndex, type RuleIndex } from "./rule-index.ts";
import { homeTrustDomains } from "./trust-domains.ts";

/** Everything that a set of files says. */
export interface PolicyDocuments {
  readonly policies: readonly PolicyModel[];
  readonly peerAuthentications: readonly PeerAuthenticationModel[];
  readonly requestAuthentications: readonly RequestAuthenticationModel[];
}

/** The same text in every output. */
export function ruleIdOf(policy: PolicyModel, rule: RuleModel): RuleId {
  return `ns[${policy.namespace}]-policy[${policy.name}]-rule[${rule.index}]` as RuleId;
}

/** Whether a document is for this workload (authorization, section 6). */
export function appliesHere(
  document: Pick<PolicyModel, "namespace" | "selector"> & { readonly elsewhere?: boolean },
  options: PolicyOptions,
): boolean {
  const { namespace, labels } = options.workload;
  const isNear = document.namespace === options.rootNamespace || document.namespace === namespace;
  if (document.elsewhere === true || !isNear) return false;
  return document.selector.entries().every(([key, value]) => labels.get(key) === value);
}

/** Compiles checked documents, in their order, yielding often. Those that do not apply here are left out. */
export function* compilePolicies(all: PolicyDocuments, options: PolicyOptions): Generator<void, CompiledPolicy> {
  const policies = all.policies.filter((policy) => appliesHere(policy, options));
  const home = homeTrustDomains(options);
  const pool: MatcherPool = { matchers: new Map(), kept: 0 };
  const checks: CheckPool = new Map();
  const rules: CompiledRule[] = [];
  for (const policy of policies) {
    for (const rule of policy.rules) {
      rules.push(compileRule(policy, rule, rules.length, options, home, pool));
      if ((rules.length & 31) === 0) yield;
    }
  }
  const inbound = rules.filter(({ policy }) => policy.direction === "INBOUND");
  const outbound = rules.filter(({ policy }) => policy.direction === "OUTBOUND");
  const requestAuthentications = all.requestAuthentications.filter((document) => appliesHere(document, options));
  const asksHttp = (rule: CompiledRule) =>
    rule.readsHttp || (rule.policy.provider !== undefined && options.providers?.get(rule.policy.provider) === "http");
  const hasTokens = requestAuthentications.some(({ jwtRules }) => jwtRules.length > 0);
  const httpRules = inbound.filter(asksHttp).map(({ model }) => model);
  return {
    version: yield* versionOf(all, options),
    options,
    policies,
    policyCount: policies.length,
    ruleCount: rules.length,
    inbound: yield* ruleSet("INBOUND", policies, rules, checks),
    outbound: yield* ruleSet("OUTBOUND", policies, rules, checks),
    keptAnswers: pool.kept,
    comparesHosts: rules.some(readsHost),
    readsHttp: hasTokens || httpRules.length > 0,
    portsWithoutHttpRules: hasTokens ? new Set() : portsWithoutHttpRules(httpRules, options),
    dependsOnTime: rules.some(({ expression }) => expression?.dependsOnTime === true),
    paths: yield* buildPathIndex(pathValues(inbound), options.mode),
    outboundPaths: yield* buildPathIndex(pathValues(outbound), options.mode),
    peerAuthentications: byAge(all.peerAuthentications.filter((document) => appliesHere(document, options))),
    requestAuthentications,
  };
}

function* ruleSet(
  direction: PolicyModel["direction"],
  allPolicies: readonly PolicyModel[],
  allRules: readonly CompiledRule[],
  checks: CheckPool,
): Generator<void, RuleSet> {
  const policies = allPolicies.filter((policy) => policy.direction === direction);
  const rules = allRules.filter(({ policy }) => policy.direction === direction);
  const select = (action: PolicyModel["action"], dryRun: boolean, provider?: string) =>
    rules.filter(({ policy }) => policy.action === action && policy.dryRun === dryRun && policy.provider === provider);
  const countAllow = (dryRun: boolean) =>
    policies.filter((policy) => policy.action === "ALLOW" && policy.dryRun === dryRun).length;
  const custom: { provider: string; rules: RuleIndex }[] = [];
  for (const provider of new Set(policies.map((policy) => policy.provider))) {
    if (provider === undefined) continue;
    custom.push({ provider, rules: yield* buildRuleIndex(select("CUSTOM", false, provider), checks, false) });
  }
  const hasDryRun = policies.some(({ dryRun }) => dryRun);
  return {
    deny: yield* buildRuleIndex(select("DENY", false), checks, false),
    allow: yield* buildRuleIndex(select("ALLOW", false), checks, true),
    audit: yield* buildRuleIndex(select("AUDIT", false), checks, false),
    custom,
    allowPolicyCount: countAllow(false),
    dryRun: hasDryRun
      ? {
          deny: yield* buildRuleIndex(select("DENY", true), checks, false),
          allow: yield* buildRuleIndex(select("ALLOW", true), checks, false),
          allowPolicyCount: countAllow(true),
        }
      : undefined,
    policyCount: policies.length,
  };
}

function readsHost({ model, expression }: CompiledRule): boolean {
  return expression?.readsHttp === true || model.operations.some((group) => group.some(({ kind }) => kind === "host"));
}

/** One by one, as whoever reads them pauses on the way. */
function* pathValues(rules: readonly CompiledRule[]): Generator<string> {
  for (const { model } of rules)
    for (const group of model.operations) for (const { kind, values } of group) if (kind === "path") yield* values;
}

function compileRule(
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
    };
    return group.map((field) => compileField(field, context, pool));
  };
  const fields = [...rule.sources.flat(), ...rule.conditions];
  const expression = rule.expression === undefined ? undefined : compileExpression(rule.expression.text, options);
  return {
    id: ruleIdOf(policy, rule),
    policy,
    model: rule,
    order,
    action: policy.action,
    sources: rule.sources.map(compileGroup),
    operations: rule.operations.map(compileGroup),
    conditions: compileGroup(rule.conditions),
    expression,
    readsHttp: readsHttp(rule) || expression?.readsHttp === true,
    namesIdentity: fields.some(({ kind }) => isIdentity(kind)),
  };
}

function isTextMap(value: unknown): value is ReadonlyMap<string, string> {
  return value instanceof Map;
}

/** Places in files do not decide anything, so a comment does not change the version. */
function* versionOf(all: PolicyDocuments, options: PolicyOptions): Generator<void, string> {
  const hash = createHash("sha256");
  for (const { rules, at: _, ...policy } of all.policies) {
    hash.update(plainJson(policy));
    for (const [index, rule] of rules.entries()) {
      const { sources, operations, conditions, expression } = rule;
      const groups = [...sources, undefined, ...operations, undefined, conditions];
      hash.update(JSON.stringify([rule.index, expression?.text, groups.map((group) => group?.map(plainField))]));
      if ((index & 31) === 31) yield;
    }
  }
  const rest = { peer: all.peerAuthentications, request: all.requestAuthentications, options };
  return hash.update(plainJson(rest)).digest("hex").slice(0, 16);
}

/** What decides of a field, in one order. Its label is part of what records say. */
function plainField({
  kind,
  negated,
  values,
  header,
  claim,
  requestPrincipals,
  label,
}: FieldModel): readonly unknown[] {
  return [kind, negated, values, header, claim, requestPrincipals, label];
}

function plainJson(value: unknown): string {
  return JSON.stringify(value, (key, part: unknown) => {
    if (key === "at") return undefined;
    return isTextMap(part) ? [...part].toSorted(([a], [b]) => (a < b ? -1 : 1)) : part;
  });
}
