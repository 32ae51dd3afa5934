import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import type { FieldGroup, FieldModel, RuleModel } from "../authz/policy-model.ts";
import type { AskedCall } from "./asked-call.ts";
import { callOf, type Draft, newDraft, type Setter, set } from "./call-draft.ts";
import { type ComparedRule, fieldKey, groupKey, isChanged } from "./compare-rules.ts";
import { type ConditionSamples, conditionSamples } from "./condition-samples.ts";
import { avoiding, valueSetters } from "./field-setters.ts";
import { oddSetters } from "./odd-calls.ts";
import { pathMatches } from "./path-matches.ts";
import { type Random, seededRandom } from "./seeded-random.ts";

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
  while (left-- > 0) yield* make(mixed(rules, world), undefined);
}

interface World {
  readonly home: string;
  readonly random: Random;
  readonly odd: readonly Setter[];
  readonly ports: readonly Setter[];
  readonly allows: readonly RuleModel[];
  /** Values and groups of changed rules that are not in every set. */
  readonly isNew: (key: string) => boolean;
  readonly samplesOf: (rule: RuleModel) => ConditionSamples;
}

const NOTHING: Setter = () => undefined;
const NO_SAMPLES: ConditionSamples = { wanted: [], all: [] };

function worldOf(policies: readonly CompiledPolicy[], rules: readonly ComparedRule[], seed: number): World {
  const options = policies.map((policy) => policy.options);
  const names = new Set(
    options.flatMap(({ localTrustDomain, trustDomainAliases }) => [localTrustDomain ?? [], trustDomainAliases].flat()),
  );
  const [home = "example.org", ...aliases]: readonly string[] = [...names];
  const ports = new Set([
    ...options.flatMap(({ listeners, tunnelPorts = [] }) => [
      ...listeners.map(({ appPort }) => appPort),
      ...tunnelPorts,
    ]),
    ...policies.flatMap(({ peerAuthentications }) =>
      peerAuthentications.flatMap(({ portLevel }) => [...portLevel.keys()]),
    ),
  ]);
  const samples = new WeakMap<RuleModel, ConditionSamples>();
  return {
    home,
    random: seededRandom(seed),
    odd: oddSetters(home, aliases),
    ports: [...ports].slice(0, 64).map((port) => set("port", port)),
    allows: rules.flatMap(({ policy, rule }) => (policy.action === "ALLOW" && !policy.dryRun ? [rule] : [])),
    isNew: newKeys(rules),
    samplesOf: (rule) => {
      if (rule.expression === undefined) return NO_SAMPLES;
      const known = samples.get(rule) ?? conditionSamples(rule.expression.text, home);
      samples.set(rule, known);
      return known;
    },
  };
}

/** Of a changed rule what most likely makes the difference: what no changed rule of some other set has. */
function newKeys(rules: readonly ComparedRule[]): World["isNew"] {
  const seen = new Map<string, Set<number>>();
  const sides = rules[0]?.ids.length ?? 0;
  for (const { rule, ids } of rules.filter(isChanged)) {
    const here = ids.flatMap((those, side) => (those.length === 0 ? [] : [side]));
    for (const group of groupsOf(rule))
      for (const key of [
        groupKey(group),
        ...group.flatMap((field) => field.values.map((value) => valueKey(field, value))),
      ]) {
        const known = seen.get(key) ?? new Set();
        for (const side of here) known.add(side);
        seen.set(key, known);
      }
  }
  return (key) => (seen.get(key)?.size ?? sides) < sides;
}

function valueKey(field: FieldModel, value: string): string {
  return `${fieldKey(field)}\n${value}`;
}

function groupsOf({ sources, operations, conditions }: RuleModel): readonly FieldGroup[] {
  return [...sources, ...operations, conditions];
}

/** A way to change a call that the rule matches. `group`: the source or operation that it must be matched by. */
interface Step {
  readonly group: FieldGroup | undefined;
  readonly setter: Setter;
}

/** How many values of a long list that is nothing new are tried. */
const MAX_VALUES = 64;
/** How many ALLOW rules a rule that takes away is tried with, and how many are looked at for them. */
const MAX_PARTNERS = 6;
const LOOKED_AT = { changed: 20_000, same: 100 };
/** Each time other alternatives and values are drawn. */
const ROUNDS = 3;

function* draftsOf(compared: ComparedRule, quota: number, world: World): Generator<Draft> {
  if (quota < 1) return;
  const { policy, rule } = compared;
  const changed = isChanged(compared);
  const partners =
    policy.action === "ALLOW" ? [] : partnersOf(rule, changed ? LOOKED_AT.changed : LOOKED_AT.same, world);
  const steps = changed ? changedSteps(rule, world) : steadySteps(rule, quota, world);
  let made = 0;
  for (let round = 0; round < (changed ? ROUNDS : 1); round++)
    for (const [i, { group, setter }] of steps.entries()) {
      if (made++ >= quota) return;
      const draft = newDraft(world.home);
      const partner = partners[(i + round) % (partners.length + 1)];
      if (partner !== undefined) applyRule(draft, partner, undefined, world);
      applyRule(draft, rule, group, world);
      setter(draft);
      yield draft;
    }
}

/** Every group, every new value, every oddity of what is new, then the rest. */
function changedSteps(rule: RuleModel, world: World): readonly Step[] {
  const { isNew, odd, ports, random, samplesOf } = world;
  const all = groupsOf(rule);
  const groups = [...all.filter((group) => isNew(groupKey(group))), ...all.filter((group) => !isNew(groupKey(group)))];
  const steps: Step[] = groups.map((group) => ({ group, setter: NOTHING }));
  for (const group of groups)
    for (const field of group)
      for (const value of field.values)
        if (isNew(valueKey(field, value)))
          steps.push(...valueSetters(field, value, world.home).map((setter) => ({ group, setter })));
  steps.push(...samplesOf(rule).all.map((setter) => ({ group: undefined, setter })));
  for (const [i, group] of groups.entries())
    if (i === 0 || isNew(groupKey(group))) steps.push(...[...odd, ...ports].map((setter) => ({ group, setter })));
  return [...steps, ...shuffled(ownSteps(rule, world), random)];
}

function steadySteps(rule: RuleModel, quota: number, world: World): readonly Step[] {
  const { odd, random, samplesOf } = world;
  const bases = shuffled(groupsOf(rule), random).map((group) => ({ group, setter: NOTHING }));
  const others = [...odd, ...samplesOf(rule).all].map((setter) => ({ group: undefined, setter }));
  const room = Math.max(1, Math.floor(quota / 2));
  return [...bases.slice(0, room), ...shuffled([...ownSteps(rule, world), ...others], random)];
}

/** Each value of the rule, also of what it excludes, and what lies beside it. */
function ownSteps(rule: RuleModel, { home, random }: World): readonly Step[] {
  return groupsOf(rule).flatMap((group) =>
    group.flatMap((field) => {
      const { values } = field;
      const some =
        values.length <= MAX_VALUES ? values : Array.from({ length: MAX_VALUES }, () => pick(values, random) ?? "");
      return some.flatMap((value) => valueSetters(field, value, home).map((setter) => ({ group, setter })));
    }),
  );
}

/** ALLOW rules that may let in what the rule takes away: of others nobody would notice. */
function partnersOf(rule: RuleModel, most: number, world: World): readonly RuleModel[] {
  const { allows, random, home } = world;
  const draft = newDraft(home);
  applyRule(draft, rule, undefined, world);
  const found: RuleModel[] = [];
  const from = allows.length === 0 ? 0 : random(allows.length);
  for (let i = 0; i < Math.min(allows.length, most) && found.length < MAX_PARTNERS; i++) {
    const allow = allows[(from + i) % allows.length];
    if (allow !== undefined && allowsPath(allow, draft.path)) found.push(allow);
  }
  return found;
}

function allowsPath({ operations }: RuleModel, path: string): boolean {
  if (operations.length === 0) return true;
  return operations.some((group) => {
    const paths = group.filter(({ kind, negated }) => kind === "path" && !negated);
    return paths.every(({ values }) => values.some((value) => pathMatches(value, path)));
  });
}

/** Gives the call what one source, one operation and every condition ask for. */
function applyRule(draft: Draft, rule: RuleModel, group: FieldGroup | undefined, world: World): void {
  const { random, home } = world;
  const one = (groups: readonly FieldGroup[]): FieldGroup =>
    groups.find((candidate) => candidate === group) ?? pick(groups, random) ?? [];
  const fields = [...one(rule.sources), ...one(rule.operations), ...rule.conditions];
  const [positive, negative] = [fields.filter(({ negated }) => !negated), fields.filter(({ negated }) => negated)];
  // A trust domain changes a part of an identity, which the other fields set as a whole.
  const isLast = ({ kind }: FieldModel) => kind === "trustDomain";
  for (const field of [...positive.filter((one) => !isLast(one)), ...positive.filter(isLast)]) {
    const value = pick(field.values, random);
    if (value !== undefined) valueSetters(field, value, home)[0]?.(draft);
  }
  for (const field of negative) avoiding(field)(draft);
  for (const setters of world.samplesOf(rule).wanted) pick(setters, random)?.(draft);
}

function mixed(rules: readonly ComparedRule[], world: World): Draft {
  const { random, odd, ports, home } = world;
  const draft = newDraft(home);
  for (let i = random(3); i > 0; i--) {
    const base = pick(rules, random);
    if (base !== undefined) applyRule(draft, base.rule, undefined, world);
  }
  for (let i = random(5); i >= 0; i--) {
    const rule = random(2) === 0 ? undefined : pick(rules, random)?.rule;
    const field = rule === undefined ? undefined : pick(pick(groupsOf(rule), random) ?? [], random);
    const value = field === undefined ? undefined : pick(field.values, random);
    const setters = field === undefined || value === undefined ? [...odd, ...ports] : valueSetters(field, value, home);
    pick(setters, random)?.(draft);
  }
  return draft;
}

function pick<T>(items: readonly T[], random: Random): T | undefined {
  return items.length === 0 ? undefined : items[random(items.length)];
}

function shuffled<T>(items: readonly T[], random: Random): readonly T[] {
  const all = [...items];
  for (let i = all.length - 1; i > 0; i--) {
    const j = random(i + 1);
    const [a, b] = [all[i], all[j]];
    if (a === undefined || b === undefined) continue;
    all[i] = b;
    all[j] = a;
  }
  return all;
}
