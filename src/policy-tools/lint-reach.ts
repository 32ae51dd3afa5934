import { atOnce } from "../authz/at-once.ts";
import {
  type ComparableRule,
  type ComparableRules,
  comparableRules,
  otherRule,
  shadowWarning,
} from "../authz/comparable-rules.ts";
import { appliesHere } from "../authz/compile-policies.ts";
import { ruleIdOf } from "../authz/compile-rule.ts";
import type { PolicyModel, RuleModel } from "../authz/policy-model.ts";
import type { PolicyOptions } from "../authz/policy-options.ts";
import { type CoverMeter, ruleCovers } from "../authz/rule-cover.ts";
import type { Warning } from "../core/errors.ts";

/** Comparisons, some 5 s. Rules that all name many of the same values need so many that a limit is needed. */
const MAX_COMPARISONS = 300_000_000;

/** Rules that never decide a call, since others come before them wherever they apply. `nameFile` says how messages name the files of other
 *  rules. */
export function lintReach(
  policies: readonly PolicyModel[],
  options: PolicyOptions,
  maxComparisons = MAX_COMPARISONS,
  nameFile: (file: string) => string = (file) => file,
): readonly Warning[] {
  const all = atOnce(comparableRules(policies, options));
  const meter: CoverMeter = { left: maxComparisons };
  const found: Warning[] = [];
  for (const one of all.rules) {
    const more = [blocked(all, one, meter, nameFile), shadowed(all, one, meter, nameFile)];
    if (meter.left <= 0) {
      found.push(notAll(one));
      break;
    }
    found.push(...more.filter((warning) => warning !== undefined));
  }
  const here = policies.filter((policy) => appliesHere(policy, options) && !policy.dryRun);
  for (const policy of here) for (const rule of policy.rules) found.push(...portsOfNobody(policy, rule, options));
  return found;
}

/** An ALLOW that a DENY takes back wholly. */
function blocked(
  all: ComparableRules,
  one: ComparableRule,
  meter: CoverMeter,
  nameFile: (file: string) => string,
): Warning | undefined {
  const blocker = all.blockerOf(one, meter);
  if (blocker === undefined) return undefined;
  const { at } = one.rule;
  const id = ruleIdOf(one.policy, one.rule);
  const other = otherRule(blocker, nameFile);
  if (ruleCovers(one.cover, blocker.cover, meter)) {
    const message = `${id} allows exactly what ${other} denies: they contradict each other, and the DENY wins`;
    return { code: "W_POLICY_CONTRADICTION", message, at, fix: "remove one of the two" };
  }
  const message = `${id} never allows a call: ${other} denies whatever it matches`;
  return { code: "W_POLICY_UNREACHABLE", message, at, fix: "remove it, or narrow the DENY" };
}

function shadowed(
  all: ComparableRules,
  one: ComparableRule,
  meter: CoverMeter,
  nameFile: (file: string) => string,
): Warning | undefined {
  const wider = all.shadowOf(one, meter);
  return wider === undefined ? undefined : shadowWarning(one, wider, nameFile);
}

function notAll({ rule: { at } }: ComparableRule): Warning {
  return {
    code: "W_POLICY_LINT_LIMIT",
    message: "there is too much to compare: rules from here on may change nothing without being named",
    at,
    fix: "lint the policies of one workload at a time",
  };
}

/** A rule about ports on which no listener serves an app. */
function portsOfNobody(policy: PolicyModel, rule: RuleModel, { listeners }: PolicyOptions): readonly Warning[] {
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
