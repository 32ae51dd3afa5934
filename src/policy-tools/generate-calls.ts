import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import type { AskedCall } from "./asked-call.ts";
import { callOf, type Draft, newDraft } from "./call-draft.ts";
import { type ComparedRule, isChanged } from "./compare-rules.ts";
import { draftsOf, mixedDraft, NOTHING, worldOf } from "./rule-drafts.ts";
import { shuffled } from "./seeded-random.ts";

export interface GeneratedCall {
  readonly call: AskedCall;
  /** Whose call it is; undefined: it is made for none. */
  readonly rule: ComparedRule | undefined;
}

/** Of the calls: rules that are not the same everywhere get up to six of ten, and a tenth at the end is mixed of everything. */
const FOR_CHANGED = 0.6;
const FOR_MIXED = 0.1;

/** Calls that sets of policies can tell apart: each rule's own values, values beside them, other spellings, and mixtures. `rules` are those of the
 *  sets (compareRules). Rules that are not in every set come first, and of their values those that are new; the others share what is left evenly, in
 *  an order that the seed gives. `count`: how many are tried; a few say what no call can have. The same policies and seed give the same calls. */
export function* generateCalls(
  policies: readonly CompiledPolicy[],
  rules: readonly ComparedRule[],
  count: number,
  direction: "inbound" | "outbound",
  seed = 1,
): Generator<GeneratedCall> {
  const world = worldOf(policies, rules, seed);
  const changed = shuffled(rules.filter(isChanged), world.random);
  const same = shuffled(
    rules.filter((rule) => !isChanged(rule)),
    world.random,
  );
  const make = (draft: Draft, rule: ComparedRule | undefined): readonly GeneratedCall[] => {
    const call = callOf(draft, direction);
    return call === undefined ? [] : [{ call, rule }];
  };
  let left = count;
  const share = function* (some: readonly ComparedRule[], until: number): Generator<GeneratedCall> {
    for (const [i, rule] of some.entries()) {
      const quota = Math.floor(Math.max(0, left - until) / (some.length - i));
      for (const draft of draftsOf(rule, quota, world)) {
        left--;
        yield* make(draft, rule);
      }
    }
  };
  yield* share(changed, same.length === 0 ? count * FOR_MIXED : count * (1 - FOR_CHANGED));
  for (const setter of [NOTHING, ...world.odd, ...world.ports])
    for (const who of left > count * FOR_MIXED ? [NOTHING, ...world.odd.slice(0, 3)] : [NOTHING]) {
      if (left-- <= 0) return;
      const draft = newDraft(world.home);
      who(draft);
      setter(draft);
      yield* make(draft, undefined);
    }
  yield* share(same, count * FOR_MIXED);
  while (left-- > 0) yield* make(mixedDraft(rules, world), undefined);
}
