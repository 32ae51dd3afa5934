import type { CompiledGroup, CompiledRule, IndexKeys } from "./compiled-policy.ts";
import { isHttpOnly, isIdentity } from "./policy-model.ts";
import type { TextPattern } from "./text-pattern.ts";

/** Rules split by what they ask of one dimension of the call. */
export interface Grouping {
  readonly dimension: string;
  readonly exact: ReadonlyMap<string, readonly CompiledRule[]>;
  readonly prefix: ReadonlyMap<string, readonly CompiledRule[]>;
  readonly suffix: ReadonlyMap<string, readonly CompiledRule[]>;
  /** Rules that match whatever the call has there, or that must be asked. */
  readonly rest: readonly CompiledRule[];
  /** How many rules are left to the unluckiest call, about: nested prefixes are not added up. */
  readonly worst: number;
  /** How many places the rules take. */
  readonly size: number;
}

/** A field gives its keys only for calls that have the thing: for others its answer is fixed, whatever the values are. */
function keysOf(group: CompiledGroup, hasPeer: boolean, isHttp: boolean): readonly IndexKeys[] {
  return group.flatMap(({ keys, model }) => {
    const fixed = (isIdentity(model.kind) && !hasPeer) || (isHttpOnly(model.kind) && !isHttp);
    return keys === undefined || fixed ? [] : [keys];
  });
}

/** Every dimension in which each alternative of the groups has keys, with all of them. */
function sharedKeys(groups: readonly (readonly IndexKeys[])[]): Map<string, readonly TextPattern[]> {
  const shared = new Map<string, readonly TextPattern[]>();
  const [first = [], ...others] = groups;
  for (const { dimension, patterns } of first) {
    const all = [patterns];
    for (const other of others) {
      const same = other.find((keys) => keys.dimension === dimension);
      if (same !== undefined) all.push(same.patterns);
    }
    if (all.length === groups.length) shared.set(dimension, all.flat());
  }
  return shared;
}

function ruleKeys(rule: CompiledRule, hasPeer: boolean, isHttp: boolean): Map<string, readonly TextPattern[]> {
  const ofGroup = (group: CompiledGroup) => keysOf(group, hasPeer, isHttp);
  const all = new Map([...sharedKeys(rule.sources.map(ofGroup)), ...sharedKeys(rule.operations.map(ofGroup))]);
  // A condition must hold beside the rest, so either may find the rule: the one with fewer texts does.
  for (const { dimension, patterns } of ofGroup(rule.conditions)) {
    const known = all.get(dimension);
    if (known === undefined || patterns.length < known.length) all.set(dimension, patterns);
  }
  return all;
}

interface Builder {
  exact: Map<string, CompiledRule[]>;
  prefix: Map<string, CompiledRule[]>;
  suffix: Map<string, CompiledRule[]>;
  keyed: Set<CompiledRule>;
}

/** One grouping for each dimension that some rule has keys in and no branch above has used. */
export function groupByKeys(
  rules: readonly CompiledRule[],
  place: { readonly hasPeer: boolean; readonly isHttp: boolean; readonly used: readonly string[] },
): readonly Grouping[] {
  const builders = new Map<string, Builder>();
  for (const rule of rules) {
    for (const [dimension, patterns] of ruleKeys(rule, place.hasPeer, place.isHttp)) {
      if (place.used.includes(dimension)) continue;
      let builder = builders.get(dimension);
      if (builder === undefined) {
        builder = { exact: new Map(), prefix: new Map(), suffix: new Map(), keyed: new Set() };
        builders.set(dimension, builder);
      }
      builder.keyed.add(rule);
      for (const pattern of patterns) if (pattern.form !== "any") addRule(builder[pattern.form], pattern.text, rule);
    }
  }
  return [...builders].map(([dimension, { keyed, ...maps }]) => {
    const rest = rules.filter((rule) => !keyed.has(rule));
    const largest = (map: ReadonlyMap<string, readonly CompiledRule[]>) =>
      map.values().reduce((most, some) => Math.max(most, some.length), 0);
    const total = (map: ReadonlyMap<string, readonly CompiledRule[]>) =>
      map.values().reduce((sum, some) => sum + some.length, 0);
    return {
      dimension,
      ...maps,
      rest,
      worst: rest.length + largest(maps.exact) + largest(maps.prefix) + largest(maps.suffix),
      size: rest.length + total(maps.exact) + total(maps.prefix) + total(maps.suffix),
    };
  });
}

function addRule(map: Map<string, CompiledRule[]>, key: string, rule: CompiledRule): void {
  const some = map.get(key);
  if (some === undefined) map.set(key, [rule]);
  // The same value may stand in several alternatives of one rule.
  else if (some[some.length - 1] !== rule) some.push(rule);
}
