import { type CoverScale, type CoverValue, coverScale } from "./cover-values.ts";
import { isPathTemplate } from "./path-template.ts";
import {
  type FieldGroup,
  type FieldKind,
  type FieldModel,
  isHttpOnly,
  isIdentity,
  isToken,
  type RuleModel,
} from "./policy-model.ts";
import { expandPrincipal, expandTrustDomain } from "./trust-domains.ts";

/** A field made ready to be compared with many others. */
export interface CoverField {
  readonly kind: FieldKind;
  readonly scale: CoverScale;
  readonly negated: boolean;
  /** All that its values stand for. */
  readonly values: readonly CoverValue[];
  /** The same, once many were looked through. */
  set: ReadonlySet<CoverValue> | undefined;
  /** In a strict ALLOW `not…: ["*"]` is the one negation that callers without the thing match. */
  readonly isForNobody: boolean;
  /** In a strict ALLOW it stands for our own trust domains, unless the same group names others. */
  readonly staysAtHome: boolean;
}

export type CoverGroup = readonly CoverField[];

/** A rule made ready to be compared with many others. */
export interface CoverRule {
  readonly model: RuleModel;
  /** Those of its sources, operations and conditions, in this order. */
  readonly fields: readonly CoverField[];
  /** Without alternatives each field must hold. */
  readonly hasOneWay: boolean;
  /** `partsOf` keeps them: of most rules nobody asks. */
  parts: CoverParts | undefined;
}

/** Alternatives of sources and of operations, and the conditions as an only one; without any, whatever it is about is not asked. */
export type CoverParts = readonly (readonly CoverGroup[])[];

/** Counts what is compared, about 20 ns each. */
export interface CoverMeter {
  left: number;
}

export interface FieldMeanings {
  readonly scale: CoverScale;
  /** In the order of the field's values. */
  readonly values: readonly (readonly CoverValue[])[];
}

/** Makes rules ready to be compared: those that come from one maker. */
export interface CoverMaker {
  /** What each value of a field stands for, and how these stand to each other. */
  meanings(field: FieldModel, ours: boolean): FieldMeanings;
  /** `ours`: whether it is written under countersign.dev/v1. */
  rule(rule: RuleModel, ours: boolean): CoverRule;
}

/** More values are found by a set. */
const FEW_VALUES = 8;

function has(field: CoverField, value: CoverValue): boolean {
  if (field.values.length <= FEW_VALUES) return field.values.includes(value);
  field.set ??= new Set(field.values);
  return field.set.has(value);
}

/** `home`: our trust domain and its aliases. */
export function coverMaker(home: readonly string[]): CoverMaker {
  let numbers = 0;
  const next = (): number => numbers++;
  const scales = new Map<string, Scale>();
  const scaleOf = ({ kind, header, claim }: FieldModel): Scale => {
    const key = header === "" && claim === undefined ? kind : `${kind} ${claim?.join("][") ?? header}`;
    let scale = scales.get(key);
    if (scale === undefined) {
      scale = { values: coverScale(kind, next), made: [new Map(), new Map(), new Map(), new Map()] };
      scales.set(key, scale);
    }
    return scale;
  };
  const found: CoverField[] = [];
  const add = (model: FieldModel, ours: boolean): void => {
    const { kind, negated, values } = model;
    const scale = scaleOf(model);
    // Most fields have one value, and most of those stand in many rules. Of a token's principal the text does not tell all.
    const made =
      values.length === 1 && kind !== "requestPrincipal" ? scale.made[(negated ? 1 : 0) + (ours ? 2 : 0)] : undefined;
    const [only = ""] = values;
    let field = made?.get(only);
    if (field === undefined) {
      field = makeField(model, ours, scale.values, home);
      made?.set(only, field);
    }
    for (const value of field.values) value.count++;
    found.push(field);
  };
  return {
    meanings(model, ours) {
      const scale = scaleOf(model).values;
      return { scale, values: meaningsOf(model, ours, scale, home) };
    },
    rule(model, ours) {
      const { sources, operations, conditions } = model;
      found.length = 0;
      for (const group of sources) for (const field of group) add(field, ours);
      for (const group of operations) for (const field of group) add(field, ours);
      for (const field of conditions) add(field, ours);
      // A copy is as long as it needs to be.
      const fields = found.slice();
      return { model, fields, hasOneWay: sources.length < 2 && operations.length < 2, parts: undefined };
    },
  };
}

export function partsOf(cover: CoverRule): CoverParts {
  if (cover.parts === undefined) {
    const { sources, operations, conditions } = cover.model;
    let at = 0;
    const group = ({ length }: FieldGroup): CoverGroup => {
      const from = at;
      at += length;
      return cover.fields.slice(from, at);
    };
    cover.parts = [sources.map(group), operations.map(group), conditions.length === 0 ? [] : [group(conditions)]];
  }
  return cover.parts;
}

interface Scale {
  readonly values: CoverScale;
  /** Fields of one value: plain and negated ones, and the same under our own apiVersion. */
  readonly made: readonly Map<string, CoverField>[];
}

function makeField(model: FieldModel, ours: boolean, scale: CoverScale, home: readonly string[]): CoverField {
  const { kind, negated, values, requestPrincipals } = model;
  const isPlain = requestPrincipals === undefined && !hasMeanings(kind);
  return {
    kind,
    scale,
    negated,
    values: isPlain ? values.map(scale.valueOf) : meaningsOf(model, ours, scale, home).flat(),
    set: undefined,
    isForNobody: negated && (isIdentity(kind) || isToken(kind)) && values.length === 1 && values[0] === "*",
    staysAtHome: staysAtHome(model),
  };
}

function meaningsOf(
  { kind, values, requestPrincipals }: FieldModel,
  ours: boolean,
  scale: CoverScale,
  home: readonly string[],
): readonly (readonly CoverValue[])[] {
  if (requestPrincipals !== undefined) return requestPrincipals.map((one) => [scale.valueOf(JSON.stringify(one))]);
  if (!hasMeanings(kind)) return values.map((value) => [scale.valueOf(value)]);
  return values.map((value) => expand(kind, value, ours, home).map(scale.valueOf));
}

/** Whether a value may stand for several. */
function hasMeanings(kind: FieldKind): boolean {
  return kind === "principal" || kind === "destinationPrincipal" || kind === "trustDomain";
}

function expand(kind: FieldKind, value: string, ours: boolean, home: readonly string[]): readonly string[] {
  if (kind === "trustDomain") return expandTrustDomain(value, home);
  // What looks like a template is one under our own apiVersion only. No principal has a space.
  return expandPrincipal(kind === "principal" && !ours && isPathTemplate(value) ? `literal ${value}` : value, home);
}

function staysAtHome({ kind, negated, values }: FieldModel): boolean {
  if (negated) return false;
  if (kind === "namespace" || kind === "serviceAccount") return true;
  return kind === "principal" && values.some((value) => value.includes("*"));
}

/** Whether every text that a value of `narrow` matches is matched by one of `wide`, whatever else they ask. `false` may mean "cannot tell". */
export function valuesCover(wide: CoverField, narrow: CoverField, meter: CoverMeter): boolean {
  if (wide.scale !== narrow.scale) return false;
  for (const value of narrow.values) {
    meter.left--;
    if (!has(wide, value) && !hasWider(wide, value, meter)) return false;
  }
  return true;
}

function hasWider(field: CoverField, value: CoverValue, meter: CoverMeter): boolean {
  for (const wider of field.scale.wider(value)) {
    meter.left--;
    if ((field.negated || !wider.reachesHomeOnly) && has(field, wider)) return true;
  }
  return false;
}

function fieldCovers(wide: CoverField, narrow: CoverField, meter: CoverMeter): boolean {
  if (wide.scale !== narrow.scale || wide.negated !== narrow.negated) return false;
  if (!wide.negated) return valuesCover(wide, narrow, meter);
  return (wide.isForNobody || !narrow.isForNobody) && valuesCover(narrow, wide, meter);
}

/** Whether all fields of `wide` hold wherever those of `narrow` do. */
function groupCovers(wide: CoverGroup, narrow: CoverGroup, meter: CoverMeter): boolean {
  meter.left--;
  for (const field of wide) {
    if (field.staysAtHome && narrow.some(isOfTrustDomains) && !wide.some(isOfTrustDomains)) return false;
    if (!narrow.some((other) => fieldCovers(field, other, meter))) return false;
  }
  return true;
}

function isOfTrustDomains({ kind, negated }: CoverField): boolean {
  return kind === "trustDomain" && !negated;
}

function readsHttp({ fields }: CoverRule): boolean {
  return fields.some(({ kind }) => isHttpOnly(kind));
}

function partCovers(wide: readonly CoverGroup[], narrow: readonly CoverGroup[], meter: CoverMeter): boolean {
  if (wide.length === 0) return true;
  return narrow.length > 0 && narrow.every((group) => wide.some((candidate) => groupCovers(candidate, group, meter)));
}

/** Whether `wide` certainly matches every call that `narrow` matches, be it a rule of the same action or a DENY beside an ALLOW. Both come from
 *  one maker. */
export function ruleCovers(wide: CoverRule, narrow: CoverRule, meter: CoverMeter): boolean {
  const [parts, expression] = [partsOf(narrow), wide.model.expression];
  return (
    partsOf(wide).every((groups, part) => partCovers(groups, parts[part] ?? [], meter)) &&
    (expression === undefined || expression.text === narrow.model.expression?.text) &&
    // istio: an ALLOW rule is dropped whole on TCP if one of its alternatives looks at HTTP.
    (!readsHttp(wide) || readsHttp(narrow))
  );
}
