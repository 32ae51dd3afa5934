import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import type { RuleId } from "../core/decision.ts";
import { type ComparedRule, compareRules, isChanged } from "./compare-rules.ts";
import type { ShownChange } from "./diff-policies.ts";
import type { GeneratedCall } from "./generate-calls.ts";

/** What generated calls have to do with the rules of two sets: no change among them is no proof where a rule had no call, or no call shows what
 *  a rule changes. */
export interface GenerationCoverage {
  /** Of each set, about calls in that direction. */
  readonly rules: readonly [before: number, after: number];
  /** How many of those no call was made for. */
  readonly withoutCall: readonly [before: number, after: number];
  /** Rules that are in one set alone, and of which no call shows anything. */
  readonly silent: readonly SilentRule[];
  /** How many rules about calls in the other direction are in one set alone: no call was made for them. */
  readonly otherDirection: number;
  /** RequestAuthentication documents differ: the calls have claims, not tokens. */
  readonly tokensDiffer: boolean;
  /** Settings or PeerAuthentication documents differ, or which policies there are. */
  readonly settingsDiffer: boolean;
}

export interface SilentRule {
  readonly set: "before" | "after";
  readonly rule: RuleId;
  readonly hasConditions: boolean;
}

export interface GenerationTracker {
  saw(made: GeneratedCall, shown: ShownChange | undefined): void;
  result(): GenerationCoverage;
}

/** `rules`: those of both sets. */
export function trackGeneration(
  sets: readonly [before: CompiledPolicy, after: CompiledPolicy],
  rules: readonly ComparedRule[],
  direction: "inbound" | "outbound",
): GenerationTracker {
  const called = new Set<ComparedRule>();
  const shownIds = new Set<RuleId>();
  return {
    saw({ rule }, shown) {
      if (rule !== undefined) called.add(rule);
      if (shown === undefined) return;
      // A rule that another took the place of is shown with it.
      for (const id of [shown.before, shown.after, ...(rule?.ids.flat() ?? [])]) if (id !== undefined) shownIds.add(id);
    },
    result() {
      const count = (some: readonly ComparedRule[], side: number) =>
        some.reduce((sum, { ids }) => sum + (ids[side]?.length ?? 0), 0);
      const without = rules.filter((rule) => !called.has(rule));
      const other = direction === "inbound" ? "outbound" : "inbound";
      return {
        rules: [count(rules, 0), count(rules, 1)],
        withoutCall: [count(without, 0), count(without, 1)],
        silent: rules
          .filter(isChanged)
          .flatMap(({ ids, rule: { expression } }) =>
            (["before", "after"] as const).flatMap((set, side) =>
              (ids[side] ?? [])
                .filter((id) => !shownIds.has(id))
                .map((rule) => ({ set, rule, hasConditions: expression !== undefined })),
            ),
          ),
        otherDirection: compareRules(sets, other).filter(isChanged).length,
        tokensDiffer: differs(sets, tokensOf),
        settingsDiffer: differs(sets, settingsOf),
      };
    },
  };
}

/** Whether there is anything that the sets do not have in common and no generated call has shown. */
export function isUnproven(coverage: GenerationCoverage, changedCalls: number): boolean {
  const { silent, otherDirection, tokensDiffer, settingsDiffer } = coverage;
  return silent.length > 0 || otherDirection > 0 || tokensDiffer || (settingsDiffer && changedCalls === 0);
}

function differs(sets: readonly CompiledPolicy[], ask: (policy: CompiledPolicy) => unknown): boolean {
  const [before, after] = sets.map((policy) => JSON.stringify(ask(policy), plain));
  return before !== after;
}

/** Where a document stands, and what it is called, decides nothing. */
function plain(key: string, value: unknown): unknown {
  if (key === "at" || key === "name") return undefined;
  if (!(value instanceof Map)) return value;
  return [...(value as ReadonlyMap<unknown, unknown>)].map((entry) => JSON.stringify(entry)).toSorted();
}

function tokensOf({ requestAuthentications }: CompiledPolicy): unknown {
  return requestAuthentications;
}

function settingsOf({ options, peerAuthentications, inbound, outbound }: CompiledPolicy): unknown {
  const policies = [inbound, outbound].map(({ allowPolicyCount, dryRun }) => [
    Math.min(1, allowPolicyCount),
    Math.min(1, dryRun?.allowPolicyCount ?? 0),
  ]);
  return [options, peerAuthentications, policies];
}
