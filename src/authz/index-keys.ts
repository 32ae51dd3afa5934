import { parseCidr } from "../core/ip-address.ts";
import { blockDigits } from "./address-digits.ts";
import { headerTexts } from "./byte-text.ts";
import { dimensionName } from "./call-dimension.ts";
import { type FieldContext, reachOf, waitsForAddress } from "./field-context.ts";
import { namesPort } from "./host-name.ts";
import { reachesTrustDomain } from "./match-identity.ts";
import { hostPattern } from "./match-request.ts";
import { compilePathTemplate, isPathTemplate } from "./path-template.ts";
import type { FieldModel } from "./policy-model.ts";
import { parseTextPattern, type TextPattern } from "./text-pattern.ts";
import { SEGMENT } from "./text-trie.ts";
import { expandPrincipal, expandTrustDomain } from "./trust-domains.ts";

/** A call has, in a dimension, a text that one of the patterns fits. */
export interface TextTest {
  /** By its name. */
  readonly dimension: string;
  readonly patterns: readonly TextPattern[];
}

/** What a field says to the index, its negation left out: only calls that pass the test can match it. */
export interface IndexKeys extends TextTest {
  /** A call that passes matches the field: it need not be asked again. */
  readonly isProof: boolean;
  /** Lists of tests: the field holds just when in each of them one passes. undefined: it asks more than that. */
  readonly tests: readonly (readonly TextTest[])[] | undefined;
}

/** The texts by which the index finds the rule. undefined: none, or any. */
export function indexKeys(model: FieldModel, context: FieldContext): IndexKeys | undefined {
  // The sign for a segment would be taken for one.
  if (model.values.some((value) => value.includes(SEGMENT))) return undefined;
  const keys = keysOfKind(model, context);
  return keys?.patterns.some(({ form }) => form === "any") ? undefined : keys;
}

const exact = (text: string): TextPattern => ({ form: "exact", text });

function proof(dimension: string, patterns: readonly TextPattern[]): IndexKeys {
  return { dimension, patterns, isProof: true, tests: [[{ dimension, patterns }]] };
}

function hint(dimension: string, patterns: readonly TextPattern[], tests?: IndexKeys["tests"]): IndexKeys {
  return { dimension, patterns, isProof: false, tests };
}

function keysOfKind(model: FieldModel, context: FieldContext): IndexKeys | undefined {
  const { kind, values, negated } = model;
  const isStrict = context.mode === "strict";
  switch (kind) {
    case "principal": {
      const reach = reachOf(model, context);
      const isTemplate = (value: string) => context.ours && isPathTemplate(value);
      const isBound = reach.kind === "kubernetes" && reach.trustDomains !== undefined;
      // A star that reaches into the trust domain may stand for some of them only.
      const isWhole = values.every((value) =>
        isTemplate(value) ? isWholeTemplate(value) : !isBound || !reachesTrustDomain(parseTextPattern(value)),
      );
      return (isWhole ? proof : hint)(kind, principalPatterns(model, context));
    }
    case "destinationPrincipal": {
      const isWhole = values.every((value) => !isPathTemplate(value) || isWholeTemplate(value));
      return (isWhole ? proof : hint)(kind, principalPatterns(model, context));
    }
    case "trustDomain":
      return proof(kind, values.flatMap((value) => expandTrustDomain(value, context.home)).map(parseTextPattern));
    case "namespace":
      return namespaceKeys(model, context);
    case "serviceAccount": {
      const reach = reachOf(model, context);
      // Anywhere in an ID, the account is looked up and the namespace asked for.
      if (reach.kind === "anywhere")
        return hint(
          kind,
          values.map((value) => exact(value.slice(value.indexOf("/") + 1))),
        );
      return proof(dimensionName("kubernetesAccount", listed(reach.trustDomains)), values.map(exact));
    }
    case "host":
      return hostKeys(values, isStrict);
    case "path": {
      // Istio lets an operator stand for some characters only.
      const isWhole = values.every((value) => !isPathTemplate(value) || (isStrict && isWholeTemplate(value)));
      return (isWhole ? proof : hint)(kind, values.map(templatePattern));
    }
    case "method":
      return proof(kind, values.map(parseTextPattern));
    case "header": {
      const one = context.action === "ALLOW" ? "headerAlone" : "header";
      const name = dimensionName(isStrict ? one : "headerLine", model.header);
      // With several lines, the negation is more than NOT.
      const texts = headerTexts(model, isStrict && context.action !== "ALLOW");
      return (negated ? hint : proof)(name, texts.map(parseTextPattern));
    }
    case "audience":
    case "presenter":
      return (negated ? hint : proof)(kind, values.map(parseTextPattern));
    case "claim":
      return (negated ? hint : proof)(dimensionName(kind, model.claim), values.map(parseTextPattern));
    case "requestPrincipal":
      return requestPrincipalKeys(model);
    case "port":
      return proof(
        kind,
        values.map((value) => exact(String(Number(value)))),
      );
    case "sourceIp":
    case "remoteIp":
      return proof(kind, values.flatMap(blockPatterns));
    case "destinationIp":
      // no text says that the address is still looked up
      return (waitsForAddress(model, context) ? hint : proof)(kind, values.flatMap(blockPatterns));
    case "sni":
      // As the field compares it.
      return proof(
        kind,
        values.map((value) => parseTextPattern(isStrict ? value.toLowerCase() : value)),
      );
  }
}

function principalPatterns({ values }: FieldModel, { home, ours }: FieldContext): readonly TextPattern[] {
  return values.flatMap((value) => expandPrincipal(value, home)).map(ours ? templatePattern : parseTextPattern);
}

function listed(trustDomains: ReadonlySet<string> | undefined): readonly string[] | undefined {
  return trustDomains === undefined ? undefined : [...trustDomains];
}

function namespaceKeys(model: FieldModel, context: FieldContext): IndexKeys | undefined {
  const reach = reachOf(model, context);
  const { kind, values } = model;
  const stars = (value: string): number => value.split("*").length - 1;
  if (reach.kind === "kubernetes") {
    if (values.some((value) => stars(value) > 1 || hasInnerStar(value))) return undefined;
    return proof(dimensionName("kubernetesNamespace", listed(reach.trustDomains)), values.map(parseTextPattern));
  }
  // `*` anywhere crosses slashes, so only a value with one star at its end begins a segment for certain.
  if (values.some((value) => value.includes("/") || value.slice(0, -1).includes("*") || value === "*"))
    return undefined;
  return proof(kind, values.map(parseTextPattern));
}

function hasInnerStar(value: string): boolean {
  return value.slice(1, -1).includes("*");
}

/** strict: a value without port is compared with a host without port. */
function hostKeys(values: readonly string[], isStrict: boolean): IndexKeys {
  const patterns = (some: readonly string[]) => some.map((value) => hostPattern(value, isStrict ? "strict" : "istio"));
  const names = isStrict ? values.filter((value) => !namesPort(value)) : [];
  if (names.length === 0) return proof("hostAndPort", patterns(values));
  if (names.length === values.length) return proof("hostName", patterns(values));
  const withPort = values.filter(namesPort);
  return hint("host", patterns(values), [
    [
      { dimension: "hostName", patterns: patterns(names) },
      { dimension: "hostAndPort", patterns: patterns(withPort) },
    ],
  ]);
}

/** Looked up by subject; the issuer is asked for where it is the same in all values. */
function requestPrincipalKeys({ kind, negated, requestPrincipals = [] }: FieldModel): IndexKeys {
  const subjects = requestPrincipals.map(({ subject }) => subject);
  const [first, ...others] = requestPrincipals.map(({ issuer }) => issuer);
  const isSame = first !== undefined && others.every((issuer) => JSON.stringify(issuer) === JSON.stringify(first));
  if (negated || !isSame || first.form === "any") return hint(kind, subjects);
  return hint(kind, subjects, [
    [{ dimension: kind, patterns: subjects }],
    [{ dimension: "issuer", patterns: [first] }],
  ]);
}

function blockPatterns(value: string): readonly TextPattern[] {
  const block = parseCidr(value);
  if (block === undefined) throw new TypeError("the value was not checked");
  return blockDigits(block).map((text) => ({ form: "prefix", text }));
}

/** A template as the index looks it up: exactly, but for what stands between `{**}` and a tail, where the longer side finds it. */
export function templatePattern(value: string): TextPattern {
  if (!isPathTemplate(value)) return parseTextPattern(value);
  const { literals, tail } = compilePathTemplate(value, false);
  const head = literals.join(SEGMENT);
  if (tail === undefined) return exact(head);
  return tail.length > head.length ? { form: "suffix", text: tail } : { form: "prefix", text: head };
}

/** Whether the index looks all of the template up. */
function isWholeTemplate(value: string): boolean {
  const { tail } = compilePathTemplate(value, false);
  return tail === undefined || tail === "";
}
