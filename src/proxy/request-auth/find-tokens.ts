import type { JwtRuleModel } from "../../authz/authentication-model.ts";
import type { Fields } from "../http1/http1-events.ts";

/** Where a request's token stands. */
export type TokenPlace =
  | { readonly kind: "header"; readonly name: string; readonly value: string }
  | { readonly kind: "param" | "cookie"; readonly name: string };

export interface FoundToken {
  /** Secret. */
  readonly token: string;
  readonly place: TokenPlace;
}

/** The tokens in the places of one rule, in the rule's order. `query` with its leading "?", or "". `strict`: the scheme `Bearer` in any case
 *  and with any white space after it, as apps read it (RFC 9110 section 11.1); else as Istio: the prefix anywhere in the joined lines, and
 *  the token up to what cannot belong to one. */
export function findTokens(rule: JwtRuleModel, fields: Fields, query: string, strict: boolean): FoundToken[] {
  const found: FoundToken[] = [];
  for (const { name, prefix } of rule.fromHeaders) inHeader(found, fields, name, prefix, strict);
  if (rule.fromParams.length > 0 && query.length > 1) inQuery(found, query, rule.fromParams);
  if (rule.fromCookies.length > 0) inCookies(found, fields, rule.fromCookies);
  return found;
}

function inHeader(found: FoundToken[], { raw, lower }: Fields, name: string, prefix: string, strict: boolean): void {
  for (let at = 0; at < lower.length; at++) {
    if (lower[at] !== name) continue;
    const value = raw[at * 2 + 1] ?? "";
    const token = strict ? tokenBehind(value, name, prefix) : tokenWithin(value, prefix);
    if (token !== undefined) found.push({ token, place: { kind: "header", name, value } });
  }
}

function tokenBehind(value: string, name: string, prefix: string): string | undefined {
  if (prefix === "") return value;
  if (name !== "authorization" || prefix.trim().toLowerCase() !== "bearer") {
    return value.startsWith(prefix) ? value.slice(prefix.length).trim() : undefined;
  }
  const scheme = /^bearer(?=[ \t]|$)/i.exec(value);
  return scheme === null ? undefined : value.slice(scheme[0].length).trim();
}

function tokenWithin(value: string, prefix: string): string | undefined {
  const at = value.indexOf(prefix);
  return at === -1 ? undefined : (/^[A-Za-z0-9_.-]*/.exec(value.slice(at + prefix.length))?.[0] ?? "");
}

function inQuery(found: FoundToken[], query: string, names: readonly string[]): void {
  for (const pair of query.slice(1).split("&")) {
    const { name, value } = parameter(pair);
    if (names.includes(name)) found.push({ token: value, place: { kind: "param", name } });
  }
}

/** One parameter, decoded as apps decode it: an encoded name names the same parameter. */
function parameter(pair: string): { readonly name: string; readonly value: string } {
  const equals = pair.indexOf("=");
  const name = equals === -1 ? pair : pair.slice(0, equals);
  return { name: decoded(name), value: equals === -1 ? "" : decoded(pair.slice(equals + 1)) };
}

function decoded(text: string): string {
  if (!text.includes("%") && !text.includes("+")) return text;
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return text;
  }
}

function inCookies(found: FoundToken[], { raw, lower }: Fields, names: readonly string[]): void {
  for (let at = 0; at < lower.length; at++) {
    if (lower[at] !== "cookie") continue;
    for (const crumb of (raw[at * 2 + 1] ?? "").split(";")) {
      const name = cookieName(crumb);
      if (!names.includes(name)) continue;
      const value = crumb.slice(crumb.indexOf("=") + 1).trim();
      found.push({ token: value.replace(/^"(.*)"$/, "$1"), place: { kind: "cookie", name } });
    }
  }
}

function cookieName(crumb: string): string {
  const equals = crumb.indexOf("=");
  return equals === -1 ? "" : crumb.slice(0, equals).trim();
}

/** A request's fields and query while they are changed; arrays of its own. */
export interface EditedRequest {
  raw: string[];
  lower: string[];
  query: string;
}

/** Takes a token out of its place, so that nobody behind us gets it: the whole header line, parameter or cookie. */
export function stripToken(request: EditedRequest, place: TokenPlace): void {
  switch (place.kind) {
    case "header":
      keepLines(request, (name, value) => name !== place.name || value !== place.value);
      return;
    case "param": {
      const kept = request.query
        .slice(1)
        .split("&")
        .filter((pair) => parameter(pair).name !== place.name);
      request.query = kept.length === 0 ? "" : `?${kept.join("&")}`;
      return;
    }
    case "cookie":
      for (let at = 0; at < request.lower.length; at++) {
        if (request.lower[at] !== "cookie") continue;
        const crumbs = (request.raw[at * 2 + 1] ?? "").split(";").filter((crumb) => cookieName(crumb) !== place.name);
        request.raw[at * 2 + 1] = crumbs.join(";").trim();
      }
      keepLines(request, (name, value) => name !== "cookie" || value !== "");
  }
}

/** Keeps the lines that fit. */
export function keepLines(request: EditedRequest, fits: (name: string, value: string) => boolean): void {
  const raw: string[] = [];
  const lower: string[] = [];
  for (let at = 0; at < request.lower.length; at++) {
    const name = request.lower[at] ?? "";
    const value = request.raw[at * 2 + 1] ?? "";
    if (!fits(name, value)) continue;
    raw.push(request.raw[at * 2] ?? "", value);
    lower.push(name);
  }
  request.raw = raw;
  request.lower = lower;
}
