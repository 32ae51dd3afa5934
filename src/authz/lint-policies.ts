import { type ComparableRules, comparableRules, shadowWarning } from "./comparable-rules.ts";
import { appliesHere, type PolicyDocuments } from "./compile-policies.ts";
import { ruleIdOf } from "./compile-rule.ts";
import type { Findings } from "./findings.ts";
import {
  type FieldGroup,
  type FieldKind,
  type FieldModel,
  isIdentity,
  type PolicyModel,
  type RuleModel,
} from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import {
  type CoverField,
  type CoverGroup,
  type CoverMeter,
  type CoverRule,
  partsOf,
  valuesCover,
} from "./rule-cover.ts";
import { homeTrustDomains, unknownTrustDomain } from "./trust-domains.ts";

/** What a load compares at most: the first is some 20 ms, the second a small part of what else a rule costs. */
const COMPARISONS = { forAll: 1_000_000, forEach: 100 };
/** Shadowed rules that a load names: a person reads no more, and each is a line of the log. */
const MAX_SHADOWED = 100;

/** Warns of what is valid and yet probably not meant (authorization, section 11). */
export function* lintPolicies(
  { policies, peerAuthentications, requestAuthentications }: PolicyDocuments,
  options: PolicyOptions,
  findings: Findings,
): Generator<void, void> {
  const home = homeTrustDomains(options);
  for (const document of [...policies, ...peerAuthentications, ...requestAuthentications])
    warnOfSelector(document, options, findings);
  const all = yield* comparableRules(policies, options);
  /** Fields that name none but known trust domains. Before identity has arrived nobody can tell. */
  const familiar = new Set<CoverField>();
  const mayBeUnknown = (field: CoverField) => mayNameTrustDomain(field) && !familiar.has(field);
  for (const { policy, rule, cover, order } of all.rules) {
    const { fields, hasOneWay } = cover;
    if (fields.some(({ negated }) => negated)) warnOfContradictions(policy, rule, cover, options, findings);
    if (options.localTrustDomain !== undefined && fields.some(mayBeUnknown))
      warnOfTrustDomains(rule, fields, home, familiar, findings);
    if (!hasOneWay) {
      warnOfSplitAlternatives(rule.sources, findings);
      warnOfSplitAlternatives(rule.operations, findings);
    }
    if ((order & 15) === 15) yield;
  }
  for (const policy of policies) {
    warnOfSplitRules(policy, findings);
    yield;
  }
  yield* warnOfShadows(all, findings);
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

const ALWAYS_THERE: ReadonlySet<FieldModel["kind"]> = new Set(["method", "path"]);

const UNLIMITED: CoverMeter = { left: Number.POSITIVE_INFINITY };

function warnOfContradictions(
  policy: PolicyModel,
  rule: RuleModel,
  cover: CoverRule,
  options: PolicyOptions,
  findings: Findings,
): void {
  const [sources = [], operations = [], conditions = []] = partsOf(cover);
  for (const [groups, covers] of [
    [rule.sources, sources],
    [rule.operations, operations],
    [[rule.conditions], conditions],
  ] as const)
    for (const [i, group] of groups.entries())
      warnOfContradiction(policy, rule, group, covers[i] ?? [], options, findings, deadPart(groups, group));
}

/** What can never match where a group cannot: one item of several, or the rule. */
function deadPart(groups: readonly FieldGroup[], group: FieldGroup): string {
  const item = groups.length > 1 ? /^\w+\[\d+\]/.exec(group[0]?.label ?? "")?.[0] : undefined;
  return item ?? "the rule";
}

/** A field whose every value its own negation takes away, or that takes away what every request has. `covers` are the same fields; `what` is dead then. */
function warnOfContradiction(
  policy: PolicyModel,
  rule: RuleModel,
  group: FieldGroup,
  covers: CoverGroup,
  { mode }: PolicyOptions,
  findings: Findings,
  what: string,
): void {
  for (const [i, negation] of group.entries()) {
    if (!negation.negated) continue;
    const isAlone = !group.some(({ kind, negated }) => kind === negation.kind && !negated);
    if (isAlone && ALWAYS_THERE.has(negation.kind) && negation.values.includes("*")) {
      const message = `${ruleIdOf(policy, rule)}: every request has what ${negation.label} takes away, so ${what} can never match`;
      findings.warn("W_POLICY_NEVER_MATCHES", negation.at, message, `name what is meant, or remove ${what}`);
    }
    // strict: a rule that does not grant is also about callers without identity, whatever it names.
    if (mode === "strict" && policy.action !== "ALLOW" && isIdentity(negation.kind)) continue;
    const cover = covers[i];
    for (const [j, field] of group.entries()) {
      const other = covers[j];
      if (field.negated || cover === undefined || other === undefined || !valuesCover(cover, other, UNLIMITED))
        continue;
      const message = `${ruleIdOf(policy, rule)}: ${negation.label} takes away all that ${field.label} gives, so ${what} can never match`;
      findings.warn("W_POLICY_NEVER_MATCHES", negation.at, message, `correct one of the two, or remove ${what}`);
    }
  }
}

function mayNameTrustDomain({ kind }: { readonly kind: FieldKind }): boolean {
  return kind === "principal" || kind === "destinationPrincipal" || kind === "trustDomain";
}

/** `covers` are the fields of the rule; those that need not be looked at again become familiar. */
function warnOfTrustDomains(
  rule: RuleModel,
  covers: readonly CoverField[],
  home: readonly string[],
  familiar: Set<CoverField>,
  findings: Findings,
): void {
  const models = [...rule.sources.flat(), ...rule.operations.flat(), ...rule.conditions];
  for (const [i, field] of models.entries()) {
    if (!mayNameTrustDomain(field)) continue;
    const unknown = new Set(field.values.flatMap((value) => unknownOf(field.kind, value, home) ?? []));
    const cover = covers[i];
    if (unknown.size === 0 && cover !== undefined) familiar.add(cover);
    for (const name of unknown) {
      const message = `${field.label} names trust domain ${JSON.stringify(name)}, which is neither ours nor an alias`;
      const fix = "correct it, add it to trustDomainAliases if it was ours, or ignore this if it is a federated one";
      findings.warn("W_POLICY_TRUST_DOMAIN", field.at, message, fix);
    }
  }
}

function unknownOf(kind: FieldKind, value: string, home: readonly string[]): string | undefined {
  if (kind !== "trustDomain") return unknownTrustDomain(value, home);
  return value.includes("*") || home.includes(value) ? undefined : value;
}

/** `- source: {principals}` and `- source: {namespaces}`: one field each, and all different, where AND was probably meant. */
function warnOfSplitAlternatives(groups: readonly FieldGroup[], findings: Findings): void {
  for (let i = 1; i < groups.length; i++) {
    const [field, ...more] = groups[i] ?? [];
    const [other, ...others] = groups[i - 1] ?? [];
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

function* warnOfShadows(all: ComparableRules, findings: Findings): Generator<void, void> {
  const meter = { left: COMPARISONS.forAll + COMPARISONS.forEach * all.rules.length };
  let found = 0;
  for (const one of all.rules) {
    const wider = meter.left > 0 ? all.shadowOf(one, meter) : undefined;
    if (meter.left <= 0 || found === MAX_SHADOWED) {
      const why =
        found === MAX_SHADOWED
          ? `${found} rules that change nothing are named, and there may be more from here on`
          : "there is too much to compare in a load: rules from here on may change nothing without being named";
      findings.warn(
        "W_POLICY_LINT_LIMIT",
        one.rule.at,
        why,
        "run `countersign policy lint`, which compares all of them",
      );
      return;
    }
    if (wider !== undefined) {
      found++;
      const { code, at, message, fix } = shadowWarning(one, wider);
      findings.warn(code, at, message, fix);
    }
    if ((one.order & 15) === 15) yield;
  }
}
