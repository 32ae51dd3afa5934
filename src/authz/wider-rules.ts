import type { CoverValue } from "./cover-values.ts";
import {
  type CoverField,
  type CoverGroup,
  type CoverMeter,
  type CoverRule,
  partsOf,
  ruleCovers,
} from "./rule-cover.ts";

/** An entry of an index, with the rule that it is found by. */
export interface Coverable {
  readonly cover: CoverRule;
  /** Place among all. */
  readonly order: number;
}

/** Finds the rules that cover another one without asking each of all others. */
export interface WiderRules<T extends Coverable> {
  /** The first entry other than the rule's own that covers it and `fits`. Of entries that ask the same only the first is tried. Once the meter has
   *  nothing left, there may be more than what is found. */
  first(narrow: CoverRule, fits: (entry: T) => boolean, meter: CoverMeter): T | undefined;
}

/** Fewer are asked one by one. */
const FEW = 8;

/** Entries that are found by one key, in their order; when they are many, most of them by a second one, and so on. */
interface Found<T> {
  /** Those that no further key stands for. */
  readonly entries: readonly T[];
  readonly byKey: Keys<T> | undefined;
}

/** Most keys have one entry, which needs no list. */
interface Keys<T> {
  readonly one: ReadonlyMap<number, T>;
  readonly more: ReadonlyMap<number, Found<T>>;
}

/** An index over `all`, in their order, made while other work may happen. All rules of the maker must be made before. Its size is linear
 *  in that of the rules. */
export function* widerRules<T extends Coverable>(all: readonly T[]): Generator<void, WiderRules<T>> {
  let places = 0;
  for (const { cover } of all) for (const { values } of cover.fields) places += values.length;
  const root = yield* split(all, 0, { places, tellers: new Map(), numbers: new Map(), byText: new Map() });
  return { first: (narrow, fits, meter) => findFirst(root, narrow, fits, meter) };
}

interface Building {
  /** How often entries may still be placed. */
  places: number;
  readonly tellers: Map<CoverRule, readonly Teller[]>;
  /** Rules that ask the same have one number. */
  readonly numbers: Map<CoverRule, number>;
  readonly byText: Map<string, number>;
}

function* split<T extends Coverable>(all: readonly T[], level: number, building: Building): Generator<void, Found<T>> {
  if (all.length <= FEW) return { entries: all, byKey: undefined };
  const tellers: (Teller | undefined)[] = [];
  let needed = 0;
  for (const { cover } of all) {
    const teller = tellerAt(cover, level, building);
    tellers.push(teller);
    if (teller !== undefined) for (const { values } of teller) needed += values.length;
    if ((tellers.length & 31) === 0) yield;
  }
  if (needed === 0 || needed > building.places) return { entries: distinct(all, building), byKey: undefined };
  building.places -= needed;
  const rest: T[] = [];
  const one = new Map<number, T>();
  const groups = new Map<number, T[]>();
  const place = (entry: T, key: number): void => {
    const first = one.get(key);
    const group = first === undefined ? undefined : groups.get(key);
    if (first === undefined) one.set(key, entry);
    else if (group !== undefined) {
      if (group.at(-1) !== entry) group.push(entry);
    } else if (first !== entry) groups.set(key, [first, entry]);
  };
  for (const [i, entry] of all.entries()) {
    const teller = tellers[i];
    if (teller === undefined) rest.push(entry);
    else for (const field of teller) placeField(field, (key) => place(entry, key));
    if ((i & 31) === 31) yield;
  }
  const more = new Map<number, Found<T>>();
  for (const [key, group] of groups) {
    one.delete(key);
    more.set(key, yield* split(group, level + 1, building));
  }
  return { entries: distinct(rest, building), byKey: { one, more } };
}

/** Without those that ask the same as one before them: whatever they cover, that one covers. */
function distinct<T extends Coverable>(entries: readonly T[], { numbers, byText }: Building): readonly T[] {
  if (entries.length <= FEW) return entries;
  const seen = new Set<number>();
  return entries.filter(({ cover }) => {
    let number = numbers.get(cover);
    if (number === undefined) {
      const text = textOf(cover);
      number = byText.get(text) ?? byText.size;
      byText.set(text, number);
      numbers.set(cover, number);
    }
    const isNew = !seen.has(number);
    seen.add(number);
    return isNew;
  });
}

function textOf(cover: CoverRule): string {
  const fieldText = ({ scale, negated, values, isForNobody }: CoverField): string =>
    `${scale.number}${isForNobody ? "?" : negated ? "!" : ":"}${values.map(({ number }) => number).join()}`;
  const texts = partsOf(cover).map((groups) => groups.map((fields) => fields.map(fieldText).join(" ")).join("|"));
  return `${texts.join("/")}/${cover.model.expression?.text ?? ""}`;
}

/** Fields of which one must cover a field of a rule that is covered. */
type Teller = readonly CoverField[];

/** What places the rule at a level. What the fewest rules share comes first. */
function tellerAt(cover: CoverRule, level: number, { tellers }: Building): Teller | undefined {
  if (level === 0 && cover.hasOneWay) {
    const rarest = rarestOf(cover.fields);
    return rarest === undefined ? undefined : [rarest];
  }
  let all = tellers.get(cover);
  if (all === undefined) {
    all = tellersOf(cover).toSorted((a, b) => sharedBy(a) - sharedBy(b));
    tellers.set(cover, all);
  }
  return all[level];
}

function tellersOf(cover: CoverRule): readonly Teller[] {
  if (cover.hasOneWay) return cover.fields.map((field) => [field]);
  return partsOf(cover).flatMap((groups) => {
    // Of an only alternative each field tells.
    if (groups.length < 2) return (groups[0] ?? []).map((field) => [field]);
    // Of several, any may be the one that covers.
    const fields = groups.map(rarestOf).filter((field) => field !== undefined);
    return fields.length === groups.length ? [fields] : [];
  });
}

function rarestOf(group: CoverGroup): CoverField | undefined {
  let [rarest, least]: [CoverField | undefined, number] = [undefined, Number.POSITIVE_INFINITY];
  for (const field of group) {
    const cost = costOf(field);
    if (cost < least) [rarest, least] = [field, cost];
  }
  return rarest;
}

function sharedBy(teller: Teller): number {
  return teller.reduce((sum, field) => sum + costOf(field), 0);
}

/** How many fields share what it is placed by. */
function costOf({ negated, values }: CoverField): number {
  if (negated) return rarestValue(values)?.count ?? 0;
  let cost = 0;
  for (const { count } of values) cost += count;
  return cost;
}

function rarestValue(values: readonly CoverValue[]): CoverValue | undefined {
  let rarest = values[0];
  for (const value of values) if (rarest !== undefined && value.count < rarest.count) rarest = value;
  return rarest;
}

const keyOf = ({ number }: CoverValue): number => 2 * number;
const keyOfNegation = ({ number }: { readonly number: number }): number => 2 * number + 1;

/** A negation is wider, the less it names: whatever it covers takes away each of its values, so one of them tells; or, where a star does that,
 *  that anything is taken away. */
function placeField({ negated, values, scale }: CoverField, place: (key: number) => void): void {
  if (!negated) {
    for (const value of values) place(keyOf(value));
    return;
  }
  const rarest = rarestValue(values);
  if (rarest !== undefined) place(keyOfNegation(rarest));
  place(keyOfNegation(scale));
}

/** Every key by which a field that covers this one is placed. */
function lookUp({ negated, values, scale }: CoverField, ask: (key: number) => void, meter: CoverMeter): void {
  if (negated) {
    meter.left -= values.length;
    const hasStar = values.some(({ form }) => form !== "exact" && form !== "itself");
    if (hasStar) ask(keyOfNegation(scale));
    else for (const value of values) ask(keyOfNegation(value));
    return;
  }
  // Whatever covers the field covers each value, so that one tells which the fewest fields name.
  const rarest = rarestValue(values);
  if (rarest === undefined) return;
  if (scale.hasStars()) {
    const wider = scale.wider(rarest);
    meter.left -= wider.length;
    for (const value of wider) ask(keyOf(value));
  } else {
    meter.left--;
    ask(keyOf(rarest));
  }
}

/** The fields of which one is covered by a field of any rule that covers this one. */
function askedFields(cover: CoverRule): readonly CoverField[] {
  if (cover.hasOneWay) return cover.fields;
  return partsOf(cover).flatMap((groups) => {
    // Each alternative must be covered, so one tells: the one with what the fewest rules name.
    let [told, least]: [CoverGroup, number] = [groups[0] ?? [], Number.POSITIVE_INFINITY];
    if (groups.length > 1)
      for (const group of groups)
        for (const { values } of group) {
          const count = rarestValue(values)?.count ?? 0;
          if (count < least) [told, least] = [group, count];
        }
    return told;
  });
}

function findFirst<T extends Coverable>(
  root: Found<T>,
  narrow: CoverRule,
  fits: (entry: T) => boolean,
  meter: CoverMeter,
): T | undefined {
  const asked = askedFields(narrow);
  let first: T | undefined;
  const ask = (entry: T): void => {
    if (meter.left <= 0 || entry.cover === narrow || (first !== undefined && entry.order >= first.order)) return;
    if (ruleCovers(entry.cover, narrow, meter) && fits(entry)) first = entry;
  };
  const visit = ({ entries, byKey }: Found<T>): void => {
    for (const entry of entries) ask(entry);
    if (byKey === undefined) return;
    const askKey = (key: number): void => {
      const one = byKey.one.get(key);
      const more = one === undefined ? byKey.more.get(key) : undefined;
      if (one !== undefined) ask(one);
      else if (more !== undefined) visit(more);
    };
    for (const field of asked) {
      if (meter.left <= 0) return;
      lookUp(field, askKey, meter);
    }
  };
  visit(root);
  return first;
}
