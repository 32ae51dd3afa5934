import { createHash } from "node:crypto";
import { byAge } from "./authentication.ts";
import type { PeerAuthenticationModel, RequestAuthenticationModel } from "./authentication-model.ts";
import { buildRuleIndex } from "./build-rule-index.ts";
import { type BuildingMemory, buildingMemory, takeMemory } from "./building-memory.ts";
import { matcherPool } from "./compile-field.ts";
import { compileRule } from "./compile-rule.ts";
import type { CompiledRule, PolicyLayout, RuleSet } from "./compiled-policy.ts";
import { growingWords } from "./growing-words.ts";
import { buildPathIndex } from "./path-index.ts";
import type { FieldModel, PolicyModel } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { portsWithoutHttpRules } from "./port-reach.ts";
import { buildRequestRules } from "./request-rules.ts";
import type { IndexLayout } from "./rule-index.ts";
import { homeTrustDomains } from "./trust-domains.ts";

/** Everything that a set of files says. */
export interface PolicyDocuments {
  readonly policies: readonly PolicyModel[];
  readonly peerAuthentications: readonly PeerAuthenticationModel[];
  readonly requestAuthentications: readonly RequestAuthenticationModel[];
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

/** What documents are compiled to. */
export interface CompiledDocuments {
  readonly layout: PolicyLayout;
  /** Those that apply here. */
  readonly policies: readonly PolicyModel[];
  readonly rules: readonly CompiledRule[];
}

/** Compiles checked documents, in their order, yielding often. Those that do not apply here are left out. */
export function* compilePolicies(all: PolicyDocuments, options: PolicyOptions): Generator<void, CompiledDocuments> {
  const policies = all.policies.filter((policy) => appliesHere(policy, options));
  const home = homeTrustDomains(options);
  const pool = matcherPool();
  const memory = buildingMemory(growingWords());
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
  const layout: Omit<PolicyLayout, "memory"> = {
    version: yield* versionOf(all, options),
    options,
    policyCount: policies.length,
    ruleCount: rules.length,
    inbound: yield* ruleSet("INBOUND", policies, rules, memory),
    outbound: yield* ruleSet("OUTBOUND", policies, rules, memory),
    keptAnswers: pool.kept,
    comparesHosts: rules.some(readsHost),
    readsHttp: hasTokens || httpRules.length > 0,
    portsWithoutHttpRules: hasTokens ? new Set() : portsWithoutHttpRules(httpRules, options),
    requestRules: yield* buildRequestRules(outbound, memory),
    dependsOnTime: rules.some(({ expression }) => expression?.dependsOnTime === true),
    paths: yield* buildPathIndex(pathValues(inbound), memory.words, inbound.some(asksPath)),
    outboundPaths: yield* buildPathIndex(pathValues(outbound), memory.words, outbound.some(asksPath)),
    peerAuthentications: byAge(all.peerAuthentications.filter((document) => appliesHere(document, options))),
    requestAuthentications,
  };
  return { layout: { ...layout, memory: takeMemory(memory) }, policies, rules };
}

function* ruleSet(
  direction: PolicyModel["direction"],
  allPolicies: readonly PolicyModel[],
  allRules: readonly CompiledRule[],
  memory: BuildingMemory,
): Generator<void, RuleSet<IndexLayout>> {
  const policies = allPolicies.filter((policy) => policy.direction === direction);
  const rules = allRules.filter(({ policy }) => policy.direction === direction);
  const select = (action: PolicyModel["action"], dryRun: boolean, provider?: string) =>
    rules.filter(({ policy }) => policy.action === action && policy.dryRun === dryRun && policy.provider === provider);
  const countAllow = (dryRun: boolean) =>
    policies.filter((policy) => policy.action === "ALLOW" && policy.dryRun === dryRun).length;
  const custom: RuleSet<IndexLayout>["custom"][number][] = [];
  for (const provider of new Set(policies.map((policy) => policy.provider))) {
    if (provider === undefined) continue;
    const asking = select("CUSTOM", false, provider);
    const addressRule = asking.find(readsAddress)?.id;
    custom.push({ provider, addressRule, rules: yield* buildRuleIndex(asking, memory, false) });
  }
  const hasDryRun = policies.some(({ dryRun }) => dryRun);
  return {
    deny: yield* buildRuleIndex(select("DENY", false), memory, false),
    allow: yield* buildRuleIndex(select("ALLOW", false), memory, true),
    audit: yield* buildRuleIndex(select("AUDIT", false), memory, false),
    custom,
    allowPolicyCount: countAllow(false),
    dryRun: hasDryRun
      ? {
          deny: yield* buildRuleIndex(select("DENY", true), memory, false),
          allow: yield* buildRuleIndex(select("ALLOW", true), memory, false),
          allowPolicyCount: countAllow(true),
        }
      : undefined,
    policyCount: policies.length,
  };
}

function comparesHost({ kind, header }: FieldModel): boolean {
  return kind === "host" || (kind === "header" && (header === "host" || header === ":authority"));
}

function readsHost({ model, expression }: CompiledRule): boolean {
  return (
    expression?.readsHttp === true ||
    model.operations.some((group) => group.some(comparesHost)) ||
    model.conditions.some(comparesHost)
  );
}

function readsAddress({ model, expression }: CompiledRule): boolean {
  return expression?.readsConnection === true || model.conditions.some(({ kind }) => kind === "destinationIp");
}

function asksPath({ expression }: CompiledRule): boolean {
  return expression?.readsPath === true;
}

/** One by one, as whoever reads them pauses on the way. */
function* pathValues(rules: readonly CompiledRule[]): Generator<string> {
  for (const { model } of rules)
    for (const group of model.operations) for (const { kind, values } of group) if (kind === "path") yield* values;
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
