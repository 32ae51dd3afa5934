import { appliesHere, type PolicyDocuments } from "./compile-policies.ts";
import { ruleIdOf } from "./compile-rule.ts";
import type { Findings } from "./findings.ts";
import type { FieldGroup, FieldModel, PolicyModel, RuleModel } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { covers, ruleCovers } from "./rule-cover.ts";
import { homeTrustDomains, unknownTrustDomain } from "./trust-domains.ts";
import { widerRules } from "./wider-rules.ts";

/** Pairs of rules that are compared in one load, about 50 ms: beyond it no rule is called shadowed. */
const MAX_COMPARISONS = 300_000;

/** Warns of what is valid and yet probably not meant (authorization, section 11). */
export function* lintPolicies(
  { policies, peerAuthentications, requestAuthentications }: PolicyDocuments,
  options: PolicyOptions,
  findings: Findings,
): Generator<void, void> {
  const budget = { left: MAX_COMPARISONS };
  const home = homeTrustDomains(options);
  for (const document of [...policies, ...peerAuthentications, ...requestAuthentications])
    warnOfSelector(document, options, findings);
  for (const policy of policies) {
    for (const rule of policy.rules) {
      warnOfContradiction(policy, rule, home, findings);
      warnOfTrustDomains(rule, options, findings);
      warnOfSplitAlternatives(rule, findings);
      yield;
    }
    warnOfSplitRules(policy, findings);
    yield* warnOfShadows(policy, budget, home, findings);
  }
}

/** A policy for our namespace that does not select us: often a label that is written differently. */
function warnOfSelector(
  policy: Pick<PolicyModel, "namespace" | "name" | "selector" | "at"> & { readonly elsewhere?: boolean },
  options: PolicyOptions,
  findings: Findings,
): void {
  const { namespace, labels } = options.workload;
  const isNear = policy.namespace === namespace || policy.namespace === options.rootNamespace;
  if (!isNear || policy.elsewhere === true || appliesHere(policy, options)) return;
  const missing = [...policy.selector].filter(([key, value]) => labels.get(key) !== value);
  const wanted = missing.map(([key, value]) => `${key}=${value}`).join(", ");
  const message = `the selector of policy ${policy.namespace}/${policy.name} selects nothing here: the workload lacks ${wanted}`;
  findings.warn(
    "W_POLICY_SELECTOR",
    policy.at,
    message,
    "correct the label, or ignore this if it is for another workload",
  );
}

function groupsOf(rule: RuleModel): readonly FieldGroup[] {
  return [...rule.sources, ...rule.operations, rule.conditions];
}

const ALWAYS_THERE: ReadonlySet<FieldModel["kind"]> = new Set(["method", "path"]);

/** A field whose every value its own negation takes away, or that takes away what every request has. */
function warnOfContradiction(policy: PolicyModel, rule: RuleModel, home: readonly string[], findings: Findings): void {
  for (const group of groupsOf(rule)) {
    for (const field of group) {
      const isAlone = !group.some(({ kind, negated }) => kind === field.kind && !negated);
      if (field.negated && isAlone && ALWAYS_THERE.has(field.kind) && field.values.includes("*")) {
        const message = `${ruleIdOf(policy, rule)}: every request has what ${field.label} takes away, so it can never match`;
        findings.warn("W_POLICY_NEVER_MATCHES", field.at, message, "remove it, or name what is meant");
      }
      const negation = group.find(
        ({ kind, header, negated }) => negated && !field.negated && kind === field.kind && header === field.header,
      );
      if (negation === undefined || !field.values.every((value) => covers(negation, value, home))) continue;
      const message = `${ruleIdOf(policy, rule)}: ${negation.label} takes away all that ${field.label} gives, so it can never match`;
      findings.warn("W_POLICY_NEVER_MATCHES", negation.at, message, "remove one of the two");
    }
  }
}

function warnOfTrustDomains(rule: RuleModel, options: PolicyOptions, findings: Findings): void {
  // Before identity has arrived nobody can tell.
  if (options.localTrustDomain === undefined) return;
  const home = homeTrustDomains(options);
  const unknownOf = ({ kind, values }: FieldModel) => {
    if (kind === "principal" || kind === "destinationPrincipal")
      return values.map((value) => unknownTrustDomain(value, home));
    if (kind === "trustDomain")
      return values.map((value) => (value.includes("*") || home.includes(value) ? undefined : value));
    return [];
  };
  for (const field of groupsOf(rule).flat()) {
    for (const unknown of new Set(unknownOf(field))) {
      if (unknown === undefined) continue;
      const message = `${field.label} names trust domain ${JSON.stringify(unknown)}, which is neither ours nor an alias`;
      findings.warn("W_POLICY_TRUST_DOMAIN", field.at, message, "correct it, or ignore this if it is a federated one");
    }
  }
}

/** `- source: {principals}` and `- source: {namespaces}`: one field each, and all different, where AND was probably meant. */
function warnOfSplitAlternatives(rule: RuleModel, findings: Findings): void {
  for (const groups of [rule.sources, rule.operations]) {
    for (const [index, group] of groups.entries()) {
      const [field, ...more] = group;
      const [other, ...others] = groups[index - 1] ?? [];
      if (field === undefined || other === undefined || more.length + others.length > 0) continue;
      if (field.kind === other.kind) continue;
      const message = `${other.label} and ${field.label} stand in two list items, of which either is enough`;
      findings.warn(
        "W_POLICY_TWO_ITEMS",
        field.at,
        message,
        "if both must hold, write them into one item: remove the second `-`",
      );
    }
  }
}

/** `- from: …` and `- to: …` as two rules. */
function warnOfSplitRules(policy: PolicyModel, findings: Findings): void {
  for (const [index, rule] of policy.rules.entries()) {
    const before = policy.rules[index - 1];
    if (before === undefined) continue;
    const onlyFrom = before.sources.length > 0 && before.operations.length + before.conditions.length === 0;
    const noFrom = rule.sources.length === 0 && rule.operations.length + rule.conditions.length > 0;
    if (!onlyFrom || !noFrom) continue;
    const message = `rule ${before.index} has only from and rule ${rule.index} has none: they are two rules, of which either is enough`;
    findings.warn("W_POLICY_TWO_ITEMS", rule.at, message, "if both must hold, write one rule: remove the second `-`");
  }
}

/** Of two rules that match the same the later one is shadowed. */
function isWider(candidate: RuleModel, rule: RuleModel, home: readonly string[]): boolean {
  if (candidate === rule || !ruleCovers(candidate, rule, home)) return false;
  return candidate.index < rule.index || !ruleCovers(rule, candidate, home);
}

/** Within a policy, which has 512 rules at most. */
function* warnOfShadows(
  policy: PolicyModel,
  budget: { left: number },
  home: readonly string[],
  findings: Findings,
): Generator<void, void> {
  const all = widerRules(policy.rules);
  for (const rule of policy.rules) {
    yield;
    let wider: RuleModel | undefined;
    for (const some of all.candidates(rule)) {
      budget.left -= some.length;
      if (budget.left < 0) return;
      const found = some.find((candidate) => isWider(candidate, rule, home));
      if (wider === undefined || (found !== undefined && found.index < wider.index)) wider = found;
    }
    if (wider === undefined) continue;
    const message = `${ruleIdOf(policy, rule)} changes nothing: rule ${wider.index} matches whatever it matches`;
    findings.warn("W_POLICY_SHADOWED", rule.at, message, "remove it, or narrow the other");
  }
}
