import { appliesHere, ruleIdOf } from "../authz/compile-policies.ts";
import type { PolicyModel, RuleModel } from "../authz/policy-model.ts";
import type { PolicyOptions } from "../authz/policy-options.ts";
import { ruleCovers } from "../authz/rule-cover.ts";
import type { Warning } from "../core/errors.ts";

interface Placed {
  readonly policy: PolicyModel;
  readonly rule: RuleModel;
}

/** Pairs of rules that are compared, about 2 s: beyond it rules of different policies are not compared. */
const MAX_COMPARISONS = 10_000_000;

/** Rules that never decide a call, since others of the set come before them. Of policies that apply here and are enforced. */
export function lintReach(policies: readonly PolicyModel[], options: PolicyOptions): readonly Warning[] {
  const placed = policies
    .filter((policy) => appliesHere(policy, options) && !policy.dryRun)
    .flatMap((policy) => policy.rules.map((rule) => ({ policy, rule })));
  const found: Warning[] = [];
  const of = (action: PolicyModel["action"], direction: PolicyModel["direction"]) =>
    placed.filter(({ policy }) => policy.action === action && policy.direction === direction);
  let comparisons = 0;
  for (const direction of ["INBOUND", "OUTBOUND"] as const) {
    const deny = of("DENY", direction);
    const allow = of("ALLOW", direction);
    comparisons += allow.length * deny.length + allow.length ** 2 + deny.length ** 2;
    if (comparisons > MAX_COMPARISONS) return [...found, tooMany(placed)];
    for (const one of allow) found.push(...blockedBy(deny, one));
    for (const group of [allow, deny]) found.push(...shadows(group));
  }
  return [...found, ...placed.flatMap((one) => portsOfNobody(one, options))];
}

/** An ALLOW that a DENY takes back wholly. */
function blockedBy(deny: readonly Placed[], { policy, rule }: Placed): readonly Warning[] {
  const blocker = deny.find((other) => ruleCovers(other.rule, rule));
  if (blocker === undefined) return [];
  const id = ruleIdOf(policy, rule);
  const other = ruleIdOf(blocker.policy, blocker.rule);
  const place = `${blocker.rule.at.file}:${blocker.rule.at.line ?? 1}`;
  if (ruleCovers(rule, blocker.rule)) {
    const message = `${id} allows exactly what ${other} (${place}) denies: they contradict each other, and the DENY wins`;
    return [{ code: "W_POLICY_CONTRADICTION", message, at: rule.at, fix: "remove one of the two" }];
  }
  const message = `${id} never allows a call: ${other} (${place}) denies whatever it matches`;
  return [{ code: "W_POLICY_UNREACHABLE", message, at: rule.at, fix: "remove it, or narrow the DENY" }];
}

/** A rule of which one of another policy matches everything; within a policy the loader says so. */
function shadows(rules: readonly Placed[]): readonly Warning[] {
  return rules.flatMap((one, index) => {
    const wider = rules.find(
      (other, i) =>
        other.policy !== one.policy &&
        ruleCovers(other.rule, one.rule) &&
        (i < index || !ruleCovers(one.rule, other.rule)),
    );
    if (wider === undefined) return [];
    const place = `${wider.rule.at.file}:${wider.rule.at.line ?? 1}`;
    const message = `${ruleIdOf(one.policy, one.rule)} changes nothing: ${ruleIdOf(wider.policy, wider.rule)} (${place}) matches whatever it matches`;
    return [{ code: "W_POLICY_SHADOWED" as const, message, at: one.rule.at, fix: "remove it, or narrow the other" }];
  });
}

/** A rule about ports on which no listener serves an app. */
function portsOfNobody({ policy, rule }: Placed, { listeners }: PolicyOptions): readonly Warning[] {
  if (policy.direction === "OUTBOUND" || listeners.length === 0) return [];
  const served = listeners.map(({ appPort }) => String(appPort));
  const fields = [...rule.operations.flat(), ...rule.conditions].filter(
    ({ kind, negated }) => kind === "port" && !negated,
  );
  return fields
    .filter(({ values }) => values.every((port) => !served.includes(port)))
    .map(({ label, values, at }) => ({
      code: "W_POLICY_UNREACHABLE",
      message: `${ruleIdOf(policy, rule)}: ${label} names ${values.join(", ")}, and no listener's app has such a port (${served.join(", ")})`,
      at,
      fix: "write the app's port, not the listener's",
    }));
}

function tooMany([first]: readonly Placed[]): Warning {
  return {
    code: "W_POLICY_LINT_LIMIT",
    message: "there are too many rules to compare each with all others: what shadows what is not known",
    at: first?.rule.at,
    fix: "lint the policies of one workload at a time",
  };
}
