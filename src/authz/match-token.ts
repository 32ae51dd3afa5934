import type { RequestFacts, RequestIdentity } from "../core/call-facts.ts";
import { claimTexts } from "./claim-texts.ts";
import type { FieldModel, TokenKind } from "./policy-model.ts";
import { inTextSet, parseTextPattern, type TextPattern, type TextSet, textSet } from "./text-pattern.ts";

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
      return (identity) => anyIn(set, claimTexts(identity, path));
    }
  }
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

/** Of a list that a token brought; what is no text matches nothing. */
function anyIn(set: TextSet, values: readonly unknown[]): boolean {
  for (const value of values) if (typeof value === "string" && inTextSet(set, value)) return true;
  return false;
}
