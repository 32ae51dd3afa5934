import { addressBits } from "../../../src/authz/address-bits.ts";
import { isPathTemplate } from "../../../src/authz/path-template.ts";
import {
  type FieldGroup,
  type FieldKind,
  type FieldModel,
  isHttpOnly,
  isIdentity,
  isToken,
  type PolicyModel,
  type RuleModel,
} from "../../../src/authz/policy-model.ts";
import { hasLiteralStar, parseTextPattern, type TextPattern } from "../../../src/authz/text-pattern.ts";
import { expandPrincipal, expandTrustDomain } from "../../../src/authz/trust-domains.ts";
import { parseCidr } from "../../../src/core/ip-address.ts";

// Which rule makes another one useless, by comparing each with all others, value by value: what the index is held against.

/** A rule and where it stands. */
export interface NaiveRule {
  readonly policy: PolicyModel;
  readonly rule: RuleModel;
}

/** The first rule that makes another one of the same set useless. */
export function naiveShadow(all: readonly NaiveRule[], narrow: number, home: readonly string[]): number | undefined {
  const one = all[narrow];
  const found = all.findIndex((other, i) => {
    if (one === undefined || i === narrow || !isAlike(other.policy, one.policy)) return false;
    if (!appliesWherever(other.policy, one.policy) || !naiveCovers(other, one, home)) return false;
    return i < narrow || !appliesWherever(one.policy, other.policy) || !naiveCovers(one, other, home);
  });
  return found === -1 ? undefined : found;
}

/** The first DENY that takes back all that a rule of an ALLOW gives. */
export function naiveBlocker(all: readonly NaiveRule[], narrow: number, home: readonly string[]): number | undefined {
  const one = all[narrow];
  if (one?.policy.action !== "ALLOW" || one.policy.dryRun) return undefined;
  const found = all.findIndex(
    ({ policy, rule }) =>
      isAlike(policy, { ...one.policy, action: "DENY" }) &&
      appliesWherever(policy, one.policy) &&
      naiveCovers({ policy, rule }, one, home),
  );
  return found === -1 ? undefined : found;
}

function isAlike(a: PolicyModel, b: PolicyModel): boolean {
  return a.action === b.action && a.direction === b.direction && a.provider === b.provider && a.dryRun === b.dryRun;
}

function appliesWherever(wide: PolicyModel, narrow: PolicyModel): boolean {
  if (wide.namespace !== "istio-system" && wide.namespace !== narrow.namespace) return false;
  return [...wide.selector].every(([key, value]) => narrow.selector.get(key) === value);
}

/** A value as a text with one star at an end, so that one value can be seen to cover another. undefined: it covers but itself. */
function coverPattern(kind: FieldKind, value: string): TextPattern | undefined {
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
function coverValues(kind: FieldKind, value: string, home: readonly string[]): readonly string[] {
  if (kind === "principal" || kind === "destinationPrincipal") return expandPrincipal(value, home);
  return kind === "trustDomain" ? expandTrustDomain(value, home) : [value];
}

function textsOf({ policy }: NaiveRule, { kind, values, requestPrincipals }: FieldModel): readonly string[] {
  if (requestPrincipals !== undefined) return requestPrincipals.map((pattern) => JSON.stringify(pattern));
  const isLiteral = (value: string) => kind === "principal" && !policy.ours && isPathTemplate(value);
  return values.map((value) => (isLiteral(value) ? `literal ${value}` : value));
}

function textCovers(kind: FieldKind, negated: boolean, one: string, value: string): boolean {
  if (one === value) return true;
  const [wide, narrow] = [coverPattern(kind, one), coverPattern(kind, value)];
  if (wide === undefined) return false;
  // In an ALLOW a star in the trust domain does not stand for every trust domain.
  const isHome = kind === "principal" && !negated && (wide.form !== "prefix" || !wide.text.includes("/"));
  if (isHome && wide.form !== "exact") return false;
  if (wide.form === "any") return true;
  if (narrow === undefined || narrow.form === "any") return false;
  if (wide.form === "prefix") return narrow.form !== "suffix" && narrow.text.startsWith(wide.text);
  if (wide.form === "suffix") return narrow.form !== "prefix" && narrow.text.endsWith(wide.text);
  return narrow.form === "exact" && narrow.text === wide.text;
}

function isForNobody({ kind, negated, values }: FieldModel): boolean {
  return negated && (isIdentity(kind) || isToken(kind)) && values.length === 1 && values[0] === "*";
}

function staysAtHome({ kind, negated, values }: FieldModel): boolean {
  if (negated) return false;
  if (kind === "namespace" || kind === "serviceAccount") return true;
  return kind === "principal" && values.some((value) => value.includes("*"));
}

function naiveCovers(wide: NaiveRule, narrow: NaiveRule, home: readonly string[]): boolean {
  const fieldCovers = (field: FieldModel, other: FieldModel): boolean => {
    const { kind, header, negated } = field;
    if (other.kind !== kind || other.header !== header || other.negated !== negated) return false;
    if (JSON.stringify(other.claim) !== JSON.stringify(field.claim)) return false;
    if (isForNobody(other) && !isForNobody(field)) return false;
    const meanings = (texts: readonly string[]) => texts.flatMap((text) => coverValues(kind, text, home));
    const [own, others] = [meanings(textsOf(wide, field)), meanings(textsOf(narrow, other))];
    const [wider, narrower] = negated ? [others, own] : [own, others];
    return narrower.every((value) => wider.some((one) => textCovers(kind, negated, one, value)));
  };
  const namesTrustDomain = (group: FieldGroup) => group.some(({ kind, negated }) => kind === "trustDomain" && !negated);
  const groupCovers = (group: FieldGroup, other: FieldGroup): boolean => {
    if (namesTrustDomain(other) && !namesTrustDomain(group) && group.some(staysAtHome)) return false;
    return group.every((field) => other.some((one) => fieldCovers(field, one)));
  };
  const partCovers = (groups: readonly FieldGroup[], others: readonly FieldGroup[]): boolean =>
    groups.length === 0 ||
    (others.length > 0 && others.every((other) => groups.some((group) => groupCovers(group, other))));
  const readsHttp = ({ sources, operations, conditions }: RuleModel): boolean =>
    [...sources, ...operations, conditions].flat().some(({ kind }) => isHttpOnly(kind));
  const [a, b] = [wide.rule, narrow.rule];
  return (
    partCovers(a.operations, b.operations) &&
    partCovers(a.sources, b.sources) &&
    groupCovers(a.conditions, b.conditions) &&
    (a.expression === undefined || a.expression.text === b.expression?.text) &&
    (!readsHttp(a) || readsHttp(b))
  );
}
