import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import type { FieldGroup, FieldModel, RuleModel } from "../authz/policy-model.ts";
import { type Draft, newDraft, type Setter, set } from "./call-draft.ts";
import { type ComparedRule, fieldKey, groupKey, isChanged } from "./compare-rules.ts";
import { type ConditionSamples, conditionSamples } from "./condition-samples.ts";
import { avoiding, valueSetters } from "./field-setters.ts";
import { oddSetters } from "./odd-calls.ts";
import { pathMatches } from "./path-matches.ts";
import { pick, type Random, seededRandom, shuffled } from "./seeded-random.ts";

/** What the drafts of all rules have in common. */
export interface World {
  readonly home: string;
  readonly random: Random;
  readonly odd: readonly Setter[];
  readonly ports: readonly Setter[];
  readonly allows: readonly RuleModel[];
  /** How many of them a changed rule looks at. */
  readonly looksOfChanged: number;
  /** Values and groups of changed rules that are not in every set. */
  readonly isNew: (key: string) => boolean;
  readonly samplesOf: (rule: RuleModel) => ConditionSamples;
}

export const NOTHING: Setter = () => undefined;
const NO_SAMPLES: ConditionSamples = { wanted: [], all: [] };

/** `rules`: of all sets (compareRules). */
export function worldOf(policies: readonly CompiledPolicy[], rules: readonly ComparedRule[], seed: number): World {
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
  const changed = rules.filter(isChanged);
  const samples = new WeakMap<RuleModel, ConditionSamples>();
  return {
    home,
    random: seededRandom(seed),
    odd: oddSetters(home, aliases),
    ports: [...ports].slice(0, 64).map((port) => set("port", port)),
    allows: rules.flatMap(({ policy, rule }) => (policy.action === "ALLOW" && !policy.dryRun ? [rule] : [])),
    looksOfChanged: Math.max(LOOKED_AT.byEach, Math.floor(LOOKED_AT.byChanged / Math.max(1, changed.length))),
    isNew: newKeys(changed, policies.length),
    samplesOf: (rule) => {
      if (rule.expression === undefined) return NO_SAMPLES;
      const known = samples.get(rule) ?? conditionSamples(rule.expression.text, home);
      samples.set(rule, known);
      return known;
    },
  };
}

/** Of a changed rule what most likely makes the difference: what no changed rule of some other set has. */
function newKeys(changed: readonly ComparedRule[], sides: number): World["isNew"] {
  const seen = new Map<string, Set<number>>();
  for (const { rule, ids } of changed) {
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
/** How many ALLOW rules a rule that takes away is tried with; how many are looked at for them by all changed rules, and by any one. */
const MAX_PARTNERS = 6;
const LOOKED_AT = { byChanged: 2_000_000, byEach: 100 };
/** Each time other alternatives and values are drawn. */
const ROUNDS = 3;

/** Calls that a rule matches, each changed in one thing; at most `quota`. Of a rule that is not in every set what is new comes first. */
export function* draftsOf(compared: ComparedRule, quota: number, world: World): Generator<Draft> {
  if (quota < 1) return;
  const { policy, rule } = compared;
  const changed = isChanged(compared);
  const partners =
    policy.action === "ALLOW" ? [] : partnersOf(rule, changed ? world.looksOfChanged : LOOKED_AT.byEach, world);
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

/** What some rules ask for, and some of anything else. */
export function mixedDraft(rules: readonly ComparedRule[], world: World): Draft {
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
