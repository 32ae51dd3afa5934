import type { CompiledField, CompiledGroup, CompiledRule } from "./compiled-policy.ts";
import type { IndexKeys } from "./index-keys.ts";
import { isHttpOnly, isIdentity, isToken } from "./policy-model.ts";
import type { TextPattern } from "./text-pattern.ts";

/** Which calls an index is for: what a field means may depend on whether there is an identity and a request. */
export interface Shape {
  /** The caller has an identity (inbound), or the server must prove one (outbound). */
  readonly hasIdentity: boolean;
  /** The server may prove any identity with a certain beginning, so its text finds nothing. */
  readonly isOpen: boolean;
  readonly isHttp: boolean;
}

/** What a rule asks of one dimension. */
export interface RuleKeys {
  readonly patterns: readonly TextPattern[];
  /** The field that a call with one of these texts matches for certain. */
  readonly proof: CompiledField | undefined;
}

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

/** Whether calls of the shape have what a field is about: for others its answer is fixed, whatever the values are. */
export function isAsked({ model: { kind } }: CompiledField, { hasIdentity, isOpen, isHttp }: Shape): boolean {
  if (kind === "destinationPrincipal") return hasIdentity && !isOpen;
  // A request with a token and one without are of one shape, and in a DENY the absence of a token decides nothing.
  if (isToken(kind)) return isHttp;
  return !(isIdentity(kind) && !hasIdentity) && !(isHttpOnly(kind) && !isHttp);
}

/** By which the field finds its rule; undefined: by none. */
function keysOf(field: CompiledField, shape: Shape): IndexKeys | undefined {
  return field.model.negated || !isAsked(field, shape) ? undefined : field.keys;
}

/** Every dimension in which each alternative of the groups has keys, with all of them. */
function addShared(groups: readonly CompiledGroup[], shape: Shape, all: Map<string, RuleKeys>): void {
  const [first = [], ...others] = groups;
  for (const field of first) {
    const keys = keysOf(field, shape);
    if (keys === undefined) continue;
    const { dimension } = keys;
    const patterns = [...keys.patterns];
    const isShared = others.every((group) => {
      const same = group.map((other) => keysOf(other, shape)).find((other) => other?.dimension === dimension);
      if (same !== undefined) patterns.push(...same.patterns);
      return same !== undefined;
    });
    if (isShared) all.set(dimension, { patterns, proof: others.length === 0 && keys.isProof ? field : undefined });
  }
}

/** By dimension. */
export function ruleKeys(rule: CompiledRule, shape: Shape): ReadonlyMap<string, RuleKeys> {
  const all = new Map<string, RuleKeys>();
  addShared(rule.sources, shape, all);
  addShared(rule.operations, shape, all);
  // A condition must hold beside the rest, so either may find the rule: the one with fewer texts does.
  for (const field of rule.conditions) {
    const keys = keysOf(field, shape);
    if (keys === undefined) continue;
    const { dimension, patterns, isProof } = keys;
    const known = all.get(dimension);
    if (known === undefined || patterns.length < known.patterns.length)
      all.set(dimension, { patterns, proof: isProof ? field : undefined });
  }
  return all;
}

/** The keys of each rule, worked out once for a whole index. */
export type KeyTable = ReadonlyMap<CompiledRule, ReadonlyMap<string, RuleKeys>>;

export function* keyTable(rules: readonly CompiledRule[], shape: Shape): Generator<void, KeyTable> {
  const table = new Map<CompiledRule, ReadonlyMap<string, RuleKeys>>();
  for (const rule of rules) {
    table.set(rule, ruleKeys(rule, shape));
    if ((table.size & 63) === 0) yield;
  }
  return table;
}

interface Builder {
  exact: Map<string, CompiledRule[]>;
  prefix: Map<string, CompiledRule[]>;
  suffix: Map<string, CompiledRule[]>;
  /** Rules that have none, in order. */
  rest: CompiledRule[];
}

/** One grouping for each dimension that some rule has keys in and that is not in `used`. */
export function* groupByKeys(
  rules: readonly CompiledRule[],
  keys: KeyTable,
  used: readonly string[],
): Generator<void, readonly Grouping[]> {
  const builders = new Map<string, Builder>();
  for (const [done, rule] of rules.entries()) {
    const own = keys.get(rule);
    if (own !== undefined)
      for (const dimension of own.keys())
        if (!builders.has(dimension) && !used.includes(dimension))
          builders.set(dimension, {
            exact: new Map(),
            prefix: new Map(),
            suffix: new Map(),
            rest: rules.slice(0, done),
          });
    for (const [dimension, builder] of builders) {
      const found = own?.get(dimension);
      if (found === undefined) builder.rest.push(rule);
      else addKeys(builder, found.patterns, rule);
    }
    if ((done & 63) === 63) yield;
  }
  return [...builders].map(([dimension, { exact, prefix, suffix, rest }]) => ({
    dimension,
    exact,
    prefix,
    suffix,
    rest,
    worst: rest.length + largest(exact) + largest(prefix) + largest(suffix),
    size: rest.length + total(exact) + total(prefix) + total(suffix),
  }));
}

function largest(map: ReadonlyMap<string, readonly CompiledRule[]>): number {
  let most = 0;
  for (const some of map.values()) most = Math.max(most, some.length);
  return most;
}

function total(map: ReadonlyMap<string, readonly CompiledRule[]>): number {
  let sum = 0;
  for (const some of map.values()) sum += some.length;
  return sum;
}

function addKeys(builder: Builder, patterns: readonly TextPattern[], rule: CompiledRule): void {
  for (const pattern of patterns) {
    if (pattern.form === "any") continue;
    const map = builder[pattern.form];
    const some = map.get(pattern.text);
    if (some === undefined) map.set(pattern.text, [rule]);
    // The same value may stand in several alternatives of one rule.
    else if (some[some.length - 1] !== rule) some.push(rule);
  }
}
