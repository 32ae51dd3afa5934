import { cidrSet } from "../core/cidr-set.ts";
import { parseCidr } from "../core/ip-address.ts";
import { headerTexts } from "./byte-text.ts";
import type { CallView, ConnectionView } from "./call-view.ts";
import type { CompiledField } from "./compiled-policy.ts";
import { type FieldContext, reachOf, waitsForAddress } from "./field-context.ts";
import { indexKeys } from "./index-keys.ts";
import { matchDestination } from "./match-destination.ts";
import { matchNamespace, matchPrincipal, matchServiceAccount, matchTrustDomain } from "./match-identity.ts";
import { matchHeader, matchHost, matchPath } from "./match-request.ts";
import { matchToken } from "./match-token.ts";
import { isPathTemplate } from "./path-template.ts";
import {
  type ConnectionKind,
  type FieldModel,
  type HttpKind,
  type IdentityKind,
  isHttpOnly,
  isIdentity,
} from "./policy-model.ts";
import type { PolicyMode } from "./policy-options.ts";
import { inTextSet, parseTextPattern, textSet } from "./text-pattern.ts";
import { expandPrincipal, expandTrustDomain } from "./trust-domains.ts";

type CallMatch = (call: CallView) => boolean;

/** What was made of fields before, by all that decides what they do: rules that share a field share its matcher and keys, which keeps what a
 *  decision touches small. */
export interface MatcherPool {
  readonly fields: Map<string, Omit<CompiledField, "model">>;
  /** Answers that connections keep so far. */
  kept: number;
  readonly maxKept: number;
}

/** Each takes a byte of every connection. */
const MAX_KEPT = 256;

export function matcherPool(maxKept = MAX_KEPT): MatcherPool {
  return { fields: new Map(), kept: 0, maxKept };
}

export function compileField(model: FieldModel, context: FieldContext, pool: MatcherPool): CompiledField {
  const { kind, negated, values, header, claim, requestPrincipals } = model;
  const reaches = kind === "principal" || kind === "namespace" || kind === "serviceAccount";
  // Lengths go before texts: no two fields have one key.
  let key = `${kind} ${negated} ${context.action === "ALLOW"} ${context.ours && kind === "principal"} ${reaches && context.namesTrustDomain} ${waitsForAddress(model, context)}`;
  for (const text of [header, ...(claim ?? [])]) key += ` ${text.length}:${text}`;
  key += requestPrincipals === undefined ? " /" : ` /${JSON.stringify(requestPrincipals)}`;
  for (const value of values) key += ` ${value.length}:${value}`;
  let made = pool.fields.get(key);
  if (made === undefined) {
    // One comparison costs less than to look an answer up.
    const isQuick = kind === "principal" || kind === "trustDomain" || kind === "port";
    const isKept = isOfConnection(kind) && (values.length > 1 || !isQuick) && pool.kept < pool.maxKept;
    const matches = compileMatch(model, context);
    const matcher = { number: pool.fields.size, kept: isKept ? pool.kept++ : -1, matches };
    made = { keys: indexKeys(model, context), matcher };
    pool.fields.set(key, made);
  }
  return { model, keys: made.keys, matcher: made.matcher };
}

/** Whether the answer is the same for all calls of a connection. */
function isOfConnection(kind: FieldModel["kind"]): boolean {
  return !isHttpOnly(kind) && kind !== "remoteIp" && kind !== "destinationPrincipal";
}

function compileMatch(model: FieldModel, context: FieldContext): CallMatch {
  const { kind, negated } = model;
  if (isIdentity(kind)) {
    const fits = identityMatch(kind, model, context);
    const anonymous = anonymousMatches(model, context);
    return ({ connection }) => (connection.hasPeer ? fits(connection) !== negated : anonymous);
  }
  if (kind === "destinationPrincipal") {
    const all = model.values.flatMap((value) => expandPrincipal(value, context.home));
    return matchDestination(all, negated, context.action === "ALLOW", anonymousMatches(model, context));
  }
  if (kind === "remoteIp") {
    const blocks = cidrSet(model.values.map(parseCidr).filter((block) => block !== undefined));
    return ({ remoteIp }) => (remoteIp !== undefined && blocks.has(remoteIp)) !== negated;
  }
  if (!isHttpOnly(kind)) {
    const fits = connectionMatch(kind, model, context);
    if (waitsForAddress(model, context)) return ({ connection }) => !connection.addressPending && !fits(connection);
    return ({ connection }) => fits(connection) !== negated;
  }
  const fits = requestMatch(kind, model, context);
  // Istio drops an HTTP-only field on TCP, so the rule grows; an ALLOW rule is dropped whole (section 7).
  const onTcp = context.action !== "ALLOW";
  return (call) => (call.request === undefined ? onTcp : fits(call));
}

/** Most rules have one path. */
function matchPathField(values: readonly string[], negated: boolean, mode: PolicyMode): CallMatch {
  const [only = ""] = values;
  const pattern = parseTextPattern(only);
  if (values.length > 1 || negated || isPathTemplate(only) || pattern.form === "any" || pattern.form === "suffix") {
    const fits = matchPath(values, mode);
    return ({ request }) => request !== undefined && fits(request.path) !== negated;
  }
  const { text } = pattern;
  if (pattern.form === "exact") return ({ request }) => request !== undefined && request.path === text;
  return ({ request }) => request?.path.startsWith(text) === true;
}

/** What an identity field says about a caller without identity (section 5). */
function anonymousMatches({ negated, values }: FieldModel, { mode, action }: FieldContext): boolean {
  if (mode === "istio") return negated;
  // strict: nobody escapes a DENY by showing no identity, and nobody gains by it but where that is asked for.
  return action !== "ALLOW" || (negated && values.length === 1 && values[0] === "*");
}

function identityMatch(
  kind: IdentityKind,
  model: FieldModel,
  context: FieldContext,
): (connection: ConnectionView) => boolean {
  const reach = reachOf(model, context);
  switch (kind) {
    case "principal":
      return matchPrincipal(
        model.values.flatMap((value) => expandPrincipal(value, context.home)),
        reach,
        context.ours,
      );
    case "namespace":
      return matchNamespace(model.values, reach);
    case "serviceAccount":
      return matchServiceAccount(model.values, reach);
    case "trustDomain":
      return matchTrustDomain(model.values.flatMap((value) => expandTrustDomain(value, context.home)));
  }
}

function connectionMatch(
  kind: Exclude<ConnectionKind, "remoteIp" | "destinationPrincipal">,
  { values }: FieldModel,
  { mode }: FieldContext,
): (connection: ConnectionView) => boolean {
  switch (kind) {
    case "port": {
      const ports = new Set(values.map(Number));
      return (connection) => ports.has(connection.port);
    }
    case "sni": {
      // Calls have it in lower case; Istio leaves values as they are, and one with a capital fits none.
      const lower = (value: string): string => (mode === "strict" ? value.toLowerCase() : value);
      const names = textSet(values.map((value) => parseTextPattern(lower(value))));
      return ({ sni }) => sni !== "" && inTextSet(names, sni);
    }
    case "sourceIp":
    case "destinationIp": {
      const blocks = cidrSet(values.map(parseCidr).filter((block) => block !== undefined));
      return (connection) => {
        const address = connection[kind];
        return address !== undefined && blocks.has(address);
      };
    }
  }
}

/** Negation included. */
function requestMatch(kind: HttpKind, model: FieldModel, { mode, action }: FieldContext): CallMatch {
  const { values, negated, header } = model;
  switch (kind) {
    case "host": {
      const fits = matchHost(values, mode);
      return (call) => fits(call) !== negated;
    }
    case "method": {
      const methods = textSet(values.map(parseTextPattern));
      return ({ request }) => request !== undefined && inTextSet(methods, request.method) !== negated;
    }
    case "path":
      return matchPathField(values, negated, mode);
    case "header": {
      const careful = action === "ALLOW" ? "ALLOW" : "DENY";
      const texts = headerTexts(model, mode === "strict" && action !== "ALLOW");
      const fits = matchHeader(header, texts, negated, mode === "strict" ? careful : undefined);
      return ({ request }) => request !== undefined && fits(request);
    }
    case "requestPrincipal":
    case "audience":
    case "presenter":
    case "claim": {
      const fits = matchToken(kind, model, mode === "strict" && action === "ALLOW");
      return ({ request }) => request !== undefined && fits(request);
    }
  }
}
