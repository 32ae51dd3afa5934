import { appliesHere } from "../authz/compile-policies.ts";
import { ruleIdOf } from "../authz/compile-rule.ts";
import type { PolicyModel, RuleModel } from "../authz/policy-model.ts";
import type { PolicyOptions } from "../authz/policy-options.ts";
import { ruleCovers } from "../authz/rule-cover.ts";
import { homeTrustDomains } from "../authz/trust-domains.ts";
import type { Warning } from "../core/errors.ts";
import { type CoverIndex, coverIndex } from "./cover-index.ts";

interface Placed {
  readonly policy: PolicyModel;
  readonly rule: RuleModel;
  /** Place among all. */
  readonly order: number;
}

/** How much is compared at most. */
export interface LintLimits {
  readonly rules: number;
  /** Pairs of rules, about 5 s. */
  readonly comparisons: number;
}

const LIMITS: LintLimits = { rules: 100_000, comparisons: 5_000_000 };

/** Rules that never decide a call, since others come before them: within each policy, and among those that apply here and are enforced.
 *  `nameFile` says how messages name the files of other rules. */
export function lintReach(
  policies: readonly PolicyModel[],
  options: PolicyOptions,
  limits: LintLimits = LIMITS,
  nameFile: (file: string) => string = (file) => file,
): readonly Warning[] {
  const placed = policies
    .flatMap((policy) => policy.rules.map((rule) => ({ policy, rule })))
    .map((one, order): Placed => ({ ...one, order }));
  const here = new Set(policies.filter((policy) => appliesHere(policy, options) && !policy.dryRun));
  const enforced = placed.filter(({ policy }) => here.has(policy));
  const ports = enforced.flatMap((one) => portsOfNobody(one, options));
  if (placed.length > limits.rules) return [...ports, tooMany(placed)];
  const home = homeTrustDomains(options);
  const comparing: Comparing = { left: limits.comparisons, home, nameFile };
  const found: Warning[] = [];
  for (const direction of ["INBOUND", "OUTBOUND"] as const) {
    const of = (action: PolicyModel["action"]) =>
      enforced.filter(({ policy }) => policy.action === action && policy.direction === direction);
    const [deny, allow] = [of("DENY"), of("ALLOW")];
    const denyIndex = coverIndex(deny, ruleOf, home);
    const allowIndex = coverIndex(allow, ruleOf, home);
    for (const one of allow) found.push(...blockedBy(denyIndex, one, comparing));
    for (const one of allow) found.push(...shadowed(allowIndex, one, comparing));
    for (const one of deny) found.push(...shadowed(denyIndex, one, comparing));
  }
  for (const [policy, rules] of Map.groupBy(placed, (one) => one.policy)) {
    const isPooled = here.has(policy) && (policy.action === "ALLOW" || policy.action === "DENY");
    const index = coverIndex(isPooled ? [] : rules, ruleOf, home);
    for (const one of rules) found.push(...shadowed(index, one, comparing));
  }
  return [...found, ...ports, ...(comparing.left > 0 ? [] : [tooMany(placed)])];
}

const ruleOf = ({ rule }: Placed): RuleModel => rule;

interface Comparing {
  /** Pairs that may still be compared. */
  left: number;
  readonly nameFile: (file: string) => string;
  readonly home: readonly string[];
}

function compare(wide: Placed, narrow: Placed, comparing: Comparing): boolean {
  comparing.left--;
  return comparing.left > 0 && ruleCovers(wide.rule, narrow.rule, comparing.home);
}

/** The first of those that fit. */
function firstOf(index: CoverIndex<Placed>, one: Placed, fits: (other: Placed) => boolean): Placed | undefined {
  let first: Placed | undefined;
  for (const some of index.candidates(one.rule))
    for (const other of some) {
      if (first !== undefined && other.order >= first.order) break;
      if (fits(other)) first = other;
    }
  return first;
}

function placeOf({ rule: { at } }: Placed, { nameFile }: Comparing): string {
  return `${nameFile(at.file)}:${at.line ?? 1}`;
}

/** An ALLOW that a DENY takes back wholly. */
function blockedBy(deny: CoverIndex<Placed>, one: Placed, comparing: Comparing): readonly Warning[] {
  const blocker = firstOf(deny, one, (other) => compare(other, one, comparing));
  if (blocker === undefined) return [];
  const { at } = one.rule;
  const id = ruleIdOf(one.policy, one.rule);
  const other = ruleIdOf(blocker.policy, blocker.rule);
  if (compare(one, blocker, comparing)) {
    const message = `${id} allows exactly what ${other} (${placeOf(blocker, comparing)}) denies: they contradict each other, and the DENY wins`;
    return [{ code: "W_POLICY_CONTRADICTION", message, at, fix: "remove one of the two" }];
  }
  const message = `${id} never allows a call: ${other} (${placeOf(blocker, comparing)}) denies whatever it matches`;
  return [{ code: "W_POLICY_UNREACHABLE", message, at, fix: "remove it, or narrow the DENY" }];
}

/** A rule of which another one matches everything. Of two that match the same, the later one. */
function shadowed(index: CoverIndex<Placed>, one: Placed, comparing: Comparing): readonly Warning[] {
  const wider = firstOf(
    index,
    one,
    (other) =>
      other !== one && compare(other, one, comparing) && (other.order < one.order || !compare(one, other, comparing)),
  );
  if (wider === undefined) return [];
  const name =
    wider.policy === one.policy
      ? `rule ${wider.rule.index}`
      : `${ruleIdOf(wider.policy, wider.rule)} (${placeOf(wider, comparing)})`;
  const message = `${ruleIdOf(one.policy, one.rule)} changes nothing: ${name} matches whatever it matches`;
  return [{ code: "W_POLICY_SHADOWED", message, at: one.rule.at, fix: "remove it, or narrow the other" }];
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
    message: "there are too many rules to compare each with all others: what shadows what is not wholly known",
    at: first?.rule.at,
    fix: "lint the policies of one workload at a time",
  };
}
