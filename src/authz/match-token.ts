import type { RequestFacts, RequestIdentity } from "../core/call-facts.ts";
import type { FieldModel, TokenKind } from "./policy-model.ts";
import { inTextSet, parseTextPattern, type TextPattern, type TextSet, textSet } from "./text-pattern.ts";

/** Top-level claims that are lists parted by spaces in any token. */
const SPACE_DELIMITED = ["scope", "permission"];

/** A field about the end user's token, its negation included. Absent: `values` false, `notValues` true; in a strict ALLOW (`careful`) the latter
 *  is false for a request without any token, but for the explicit star (authorization, sections 1, 4 and 5). */
export function matchToken(kind: TokenKind, model: FieldModel, careful: boolean): (request: RequestFacts) => boolean {
  const { negated, values } = model;
  const fits = tokenMatch(kind, model);
  const without = negated && (!careful || (values.length === 1 && values[0] === "*"));
  return ({ identity }) => (identity === undefined ? without : fits(identity) !== negated);
}

function tokenMatch(kind: TokenKind, model: FieldModel): (identity: RequestIdentity) => boolean {
  const set = textSet(kind === "requestPrincipal" ? [] : model.values.map(parseTextPattern));
  switch (kind) {
    case "requestPrincipal": {
      const patterns = model.requestPrincipals ?? [];
      return ({ issuer, subject }) => {
        for (const pattern of patterns)
          if (fitsPattern(pattern.issuer, issuer) && fitsPattern(pattern.subject, subject)) return true;
        return false;
      };
    }
    case "audience":
      return ({ audiences }) => anyIn(set, audiences);
    case "presenter":
      return ({ presenter }) => inTextSet(set, presenter);
    case "claim": {
      const path = model.claim ?? [];
      const [first = ""] = path;
      return (identity) => {
        const value = claimAt(identity.claims, path);
        if (typeof value === "string") {
          const isList = path.length === 1 && isSpaceDelimited(first, identity);
          return isList ? anyIn(set, value.split(" ")) : inTextSet(set, value);
        }
        return Array.isArray(value) && anyIn(set, value);
      };
    }
  }
}

function isSpaceDelimited(name: string, identity: RequestIdentity): boolean {
  return SPACE_DELIMITED.includes(name) || (identity.spaceDelimitedClaims?.includes(name) ?? false);
}

function fitsPattern(pattern: TextPattern, text: string): boolean {
  switch (pattern.form) {
    case "any":
      return text !== "";
    case "exact":
      return text === pattern.text;
    case "prefix":
      return text.startsWith(pattern.text);
    case "suffix":
      return text.endsWith(pattern.text);
  }
}

/** Numbers and booleans are no texts, and match nothing, as in Istio. */
function anyIn(set: TextSet, values: readonly unknown[]): boolean {
  for (const value of values) if (typeof value === "string" && inTextSet(set, value)) return true;
  return false;
}

function claimAt(claims: Readonly<Record<string, unknown>>, path: readonly string[]): unknown {
  let value: unknown = claims;
  for (const name of path) {
    if (typeof value !== "object" || value === null || Array.isArray(value) || !Object.hasOwn(value, name))
      return undefined;
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return value;
}
