import { ruleIdOf } from "./compile-rule.ts";
import type { PolicyModel, RuleModel } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { type CoverMeter, type CoverRule, coverMaker, ruleCovers } from "./rule-cover.ts";
import { homeTrustDomains } from "./trust-domains.ts";
import { type WiderRules, widerRules } from "./wider-rules.ts";

/** A rule, ready to be compared with all others of its set. */
export interface ComparableRule {
  readonly policy: PolicyModel;
  readonly rule: RuleModel;
  readonly cover: CoverRule;
  /** Place among all. */
  readonly order: number;
  readonly reach: Reach;
}

/** All rules of a set of policies, and how they stand to each other. What is asked counts on the meter; when that has nothing left, the
 *  answer is that there is none. */
export interface ComparableRules {
  readonly rules: readonly ComparableRule[];
  /** The first rule that makes this one useless: it does the same to every call that this one matches, wherever this one applies. Of two that
   *  match the same, the first. */
  shadowOf(one: ComparableRule, meter: CoverMeter): ComparableRule | undefined;
  /** The first rule of an enforced DENY that takes back all that this one of an ALLOW gives, wherever it applies. */
  blockerOf(one: ComparableRule, meter: CoverMeter): ComparableRule | undefined;
}

/** The workloads that a policy applies to: those of a namespace (of the root namespace: of all) that have some labels. */
interface Reach {
  readonly namespace: string;
  /** Key and value of each, as one text. */
  readonly labels: readonly string[];
  /** Of a policy that applies to no sidecar, which is compared with itself alone. */
  readonly isElsewhere: boolean;
  /** Those that apply wherever this one does, itself among them. */
  readonly wider: Reach[];
  /** By what happens to calls that they match. */
  readonly pools: Map<string, Pool>;
}

interface Pool {
  readonly rules: ComparableRule[];
  index: WiderRules<ComparableRule> | undefined;
}

/** Makes the rules of policies comparable while other work may happen. */
export function* comparableRules(
  policies: readonly PolicyModel[],
  options: PolicyOptions,
): Generator<void, ComparableRules> {
  const maker = coverMaker(homeTrustDomains(options));
  const reaches = new Map<string, Reach>();
  const rules: ComparableRule[] = [];
  for (const policy of policies) {
    const reach = reachOf(policy, reaches);
    const pool = poolOf(reach, poolName(policy));
    for (const rule of policy.rules) {
      const one = { policy, rule, cover: maker.rule(rule, policy.ours), order: rules.length, reach };
      rules.push(one);
      pool.rules.push(one);
      if ((rules.length & 15) === 0) yield;
    }
  }
  findWider([...reaches.values()], options.rootNamespace);
  for (const { pools } of reaches.values())
    for (const pool of pools.values()) pool.index = yield* widerRules(pool.rules);

  const firstIn = (
    name: string,
    one: ComparableRule,
    fits: (other: ComparableRule) => boolean,
    meter: CoverMeter,
  ): ComparableRule | undefined => {
    let first: ComparableRule | undefined;
    for (const { pools } of one.reach.wider) {
      const before = first?.order ?? Number.POSITIVE_INFINITY;
      const found = pools.get(name)?.index?.first(one.cover, (other) => other.order < before && fits(other), meter);
      first = found ?? first;
    }
    return first;
  };
  return {
    rules,
    shadowOf(one, meter) {
      const isUseless = (other: ComparableRule) =>
        other.order < one.order ||
        other.reach !== one.reach ||
        (other !== one && !ruleCovers(one.cover, other.cover, meter));
      return firstIn(poolName(one.policy), one, isUseless, meter);
    },
    blockerOf(one, meter) {
      const { action, dryRun, direction } = one.policy;
      if (action !== "ALLOW" || dryRun) return undefined;
      return firstIn(poolName({ action: "DENY", dryRun, direction, provider: undefined }), one, () => true, meter);
    },
  };
}

/** A rule of another policy, with the place to find it at. */
export function otherRule({ policy, rule }: ComparableRule, nameFile: (file: string) => string): string {
  return `${ruleIdOf(policy, rule)} (${nameFile(rule.at.file)}:${rule.at.line ?? 1})`;
}

/** What is said of a rule that changes nothing. `nameFile` says how the file of another rule is named. */
export function shadowWarning(one: ComparableRule, wider: ComparableRule, nameFile = (file: string) => file) {
  const name = wider.policy === one.policy ? `rule ${wider.rule.index}` : otherRule(wider, nameFile);
  const message = `${ruleIdOf(one.policy, one.rule)} changes nothing: ${name} matches whatever it matches`;
  return { code: "W_POLICY_SHADOWED", message, at: one.rule.at, fix: "remove it, or narrow the other" } as const;
}

/** Rules of one pool do the same to calls that they match. */
function poolName({
  direction,
  action,
  dryRun,
  provider = "",
}: Pick<PolicyModel, "direction" | "action" | "dryRun" | "provider">): string {
  return `${direction} ${action} ${dryRun} ${provider}`;
}

function poolOf({ pools }: Reach, name: string): Pool {
  let pool = pools.get(name);
  if (pool === undefined) {
    pool = { rules: [], index: undefined };
    pools.set(name, pool);
  }
  return pool;
}

function reachOf(policy: PolicyModel, reaches: Map<string, Reach>): Reach {
  const { namespace, selector, elsewhere, name } = policy;
  const labels = [...selector].map((label) => JSON.stringify(label)).toSorted();
  const key = JSON.stringify([namespace, elsewhere ? name : "", ...labels]);
  let reach = reaches.get(key);
  if (reach === undefined) {
    reach = { namespace, labels, isElsewhere: elsewhere, wider: [], pools: new Map() };
    reaches.set(key, reach);
  }
  return reach;
}

/** Finds them by their namespace and the label that the fewest have, so that many selectors are not all compared with each other. */
function findWider(all: readonly Reach[], rootNamespace: string): void {
  const counts = new Map<string, number>();
  for (const label of all.flatMap(({ labels }) => labels)) counts.set(label, (counts.get(label) ?? 0) + 1);
  const rarest = (labels: readonly string[]) =>
    labels.reduce(
      (best, label) => ((counts.get(label) ?? 0) < (counts.get(best) ?? Number.POSITIVE_INFINITY) ? label : best),
      "",
    );
  const byStart = Map.groupBy(all, ({ namespace, labels }) => startOf(namespace, rarest(labels)));
  for (const reach of all) {
    if (reach.isElsewhere) {
      reach.wider.push(reach);
      continue;
    }
    for (const namespace of new Set([reach.namespace, rootNamespace]))
      for (const label of ["", ...reach.labels])
        for (const other of byStart.get(startOf(namespace, label)) ?? [])
          if (!other.isElsewhere && other.labels.every((one) => reach.labels.includes(one))) reach.wider.push(other);
  }
}

const startOf = (namespace: string, label: string): string => JSON.stringify([namespace, label]);
