import { parseCidr } from "../core/ip-address.ts";
import { addressBits } from "./address-bits.ts";
import { isPathTemplate } from "./path-template.ts";
import {
  type FieldGroup,
  type FieldKind,
  type FieldModel,
  isIdentity,
  isToken,
  type RuleModel,
} from "./policy-model.ts";
import { readsHttp } from "./port-reach.ts";
import { hasLiteralStar, parseTextPattern, type TextPattern } from "./text-pattern.ts";
import { expandPrincipal, expandTrustDomain } from "./trust-domains.ts";

/** A value as a text with one star at an end, so that one value can be seen to cover another. undefined: it covers but itself. */
export function coverPattern(kind: FieldKind, value: string): TextPattern | undefined {
  switch (kind) {
    case "audience":
    case "presenter":
    case "claim":
    case "principal":
    case "trustDomain":
    case "method":
    case "path":
    case "header":
    case "sni":
      // A template is only compared as a whole: its literal beginning is not all that it says.
      return isPathTemplate(value) ? undefined : parseTextPattern(value);
    case "namespace":
      return hasLiteralStar(value) ? undefined : parseTextPattern(value);
    case "host":
      // Whether a port or a dot at the end counts depends on the mode.
      return value.includes(":") || value.endsWith(".") ? undefined : parseTextPattern(value.toLowerCase());
    case "sourceIp":
    case "remoteIp":
    case "destinationIp": {
      const block = parseCidr(value);
      return block === undefined ? undefined : { form: "prefix", text: addressBits(block, block.prefixBits) };
    }
    case "serviceAccount":
    case "port":
    case "requestPrincipal":
    case "destinationPrincipal":
      return undefined;
  }
}

/** What a value stands for where `home` are our trust domain and its aliases. */
export function coverValues(kind: FieldKind, value: string, home: readonly string[]): readonly string[] {
  if (kind === "principal" || kind === "destinationPrincipal") return expandPrincipal(value, home);
  return kind === "trustDomain" ? expandTrustDomain(value, home) : [value];
}

/** Whether every text that `value` matches is matched by one of the field's values. `false` may mean "cannot tell". */
export function covers(field: FieldModel, value: string, home: readonly string[]): boolean {
  if (field.values.includes(value)) return true;
  const all = field.values.flatMap((some) => coverValues(field.kind, some, home));
  return coverValues(field.kind, value, home).every((some) => coversText(field, all, some));
}

function coversText(field: FieldModel, values: readonly string[], value: string): boolean {
  if (values.includes(value)) return true;
  const narrow = coverPattern(field.kind, value);
  return values.some((candidate) => {
    const wide = coverPattern(field.kind, candidate);
    if (wide === undefined) return false;
    // In an ALLOW a star in the trust domain does not stand for every trust domain.
    if (field.kind === "principal" && !field.negated && (wide.form !== "prefix" || !wide.text.includes("/")))
      return false;
    if (wide.form === "any") return true;
    if (narrow === undefined || narrow.form === "any") return false;
    if (wide.form === "prefix") return narrow.form !== "suffix" && narrow.text.startsWith(wide.text);
    if (wide.form === "suffix") return narrow.form !== "prefix" && narrow.text.endsWith(wide.text);
    return narrow.form === "exact" && narrow.text === wide.text;
  });
}

/** In a strict ALLOW `not…: ["*"]` is the one negation that callers without the thing match. */
function isForNobody({ kind, negated, values }: FieldModel): boolean {
  return negated && (isIdentity(kind) || isToken(kind)) && values.length === 1 && values[0] === "*";
}

/** In a strict ALLOW it stands for our own trust domains, unless the same group names others. */
function staysAtHome({ kind, negated, values }: FieldModel): boolean {
  if (negated) return false;
  if (kind === "namespace" || kind === "serviceAccount") return true;
  return kind === "principal" && values.some((value) => value.includes("*"));
}

function namesTrustDomain(group: FieldGroup): boolean {
  return group.some(({ kind, negated }) => kind === "trustDomain" && !negated);
}

function fieldCovers(field: FieldModel, other: FieldModel, home: readonly string[]): boolean {
  if (
    other.kind !== field.kind ||
    other.header !== field.header ||
    other.negated !== field.negated ||
    other.claim?.join("][") !== field.claim?.join("][")
  )
    return false;
  if (!field.negated) return other.values.every((value) => covers(field, value, home));
  if (isForNobody(other) && !isForNobody(field)) return false;
  return field.values.every((value) => covers(other, value, home));
}

/** Whether all fields of `wide` hold wherever those of `narrow` do. */
function groupCovers(wide: FieldGroup, narrow: FieldGroup, home: readonly string[]): boolean {
  if (namesTrustDomain(narrow) && !namesTrustDomain(wide) && wide.some(staysAtHome)) return false;
  return wide.every((field) => narrow.some((other) => fieldCovers(field, other, home)));
}

function anyCovers(wide: readonly FieldGroup[], narrow: readonly FieldGroup[], home: readonly string[]): boolean {
  if (wide.length === 0) return true;
  return narrow.length > 0 && narrow.every((group) => wide.some((candidate) => groupCovers(candidate, group, home)));
}

/** Whether `wide` certainly matches every call that `narrow` matches, be it a rule of the same action or a DENY beside an ALLOW. `home` are our
 *  trust domain and its aliases. */
export function ruleCovers(wide: RuleModel, narrow: RuleModel, home: readonly string[]): boolean {
  // Operations first: they are what rules of one policy mostly differ in.
  return (
    anyCovers(wide.operations, narrow.operations, home) &&
    anyCovers(wide.sources, narrow.sources, home) &&
    groupCovers(wide.conditions, narrow.conditions, home) &&
    (wide.expression === undefined || wide.expression.text === narrow.expression?.text) &&
    // istio: an ALLOW rule is dropped whole on TCP if one of its alternatives looks at HTTP.
    (!readsHttp(wide) || readsHttp(narrow))
  );
}
