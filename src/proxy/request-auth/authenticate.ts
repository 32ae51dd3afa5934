import { readUnverifiedJwt, type UnverifiedJwt } from "../../certs/jwt/read-jwt.ts";
import type { JwtClaims } from "../../certs/jwt/verify-jwt.ts";
import type { RequestIdentity } from "../../core/call-facts.ts";
import type { ErrorCode } from "../../core/error-codes.ts";
import { asCountersignError, CountersignError } from "../../core/errors.ts";
import type { PreparedCall } from "../http-service.ts";
import type { Fields, RequestHead } from "../http1/http1-events.ts";
import { Refusal } from "../refusal.ts";
import { claimHeaders } from "./claim-headers.ts";
import { type EditedRequest, type FoundToken, findTokens, keepLines, stripToken } from "./find-tokens.ts";
import { ownHeaderName, type TokenRule, type TokenRules } from "./token-rules.ts";
import { verifyByRule } from "./verify-token.ts";

/** Prepares a call anew from other fields and another query. `own`: names of fields that were put in. */
export type PrepareAgain = (
  fields: Fields,
  query: string,
  identity: RequestIdentity | undefined,
  own?: readonly string[],
) => PreparedCall;

interface RuleTokens {
  readonly rule: TokenRule;
  readonly tokens: readonly FoundToken[];
}

/** Authenticates one request (authorization, section 9): what only a verified token may set is taken out of it first; a token is verified,
 *  taken out and told to the app as its rule asks. Without a token, and for one that was verified before, nothing is waited for. A promise
 *  never rejects. */
export function authenticate(
  rules: TokenRules,
  head: RequestHead,
  call: PreparedCall,
  again: PrepareAgain,
): PreparedCall | Promise<PreparedCall | Refusal> {
  const clean = withoutOwnHeaders(head.fields, rules.ownHeaders);
  const prepared = clean === head.fields ? call : again(clean, head.query, undefined);
  const { kept } = prepared.scanned;
  // Istio's filter passes a preflight by; strict looks at a token that it brings all the same
  if (!rules.strict && isPreflight(head.method, kept)) return prepared;
  const found: RuleTokens[] = [];
  for (const rule of rules.rules) {
    const tokens = findTokens(rule.model, kept, head.query, rules.strict);
    if (tokens.length > 0) found.push({ rule, tokens });
  }
  if (found.length === 0) return prepared;
  const request = { raw: [...clean.raw], lower: [...clean.lower], query: head.query };
  const known = knownUser(rules, found);
  return known === undefined ? verifyAndTell(rules, found, request, again) : tell(rules, known, request, again);
}

interface Verified extends RuleTokens {
  readonly claims: JwtClaims;
}

/** Who it is, if the one token of the request was verified before. */
function knownUser({ clock }: TokenRules, found: readonly RuleTokens[]): Verified | undefined {
  if (hasSeveral(found)) return undefined;
  for (const { rule, tokens } of found) {
    const claims = rule.verified.find(tokens[0]?.token ?? "", rule.keys.current, clock.nowMs());
    if (claims !== undefined) return { rule, tokens, claims };
  }
  return undefined;
}

function hasSeveral(found: readonly RuleTokens[]): boolean {
  if (found.length === 1) return found[0]?.tokens.length !== 1;
  return (
    found.some(({ tokens }) => tokens.length > 1) ||
    new Set(found.flatMap(({ tokens }) => tokens.map(placeKey))).size > 1
  );
}

/** Takes the token out and tells the app, as the rule asks. */
function tell(
  { strict }: TokenRules,
  { rule: { model }, tokens, claims }: Verified,
  request: EditedRequest,
  again: PrepareAgain,
): PreparedCall {
  if (!model.forwardOriginalToken) {
    // Istio's filter leaves cookies as they are
    for (const { place } of tokens) if (strict || place.kind !== "cookie") stripToken(request, place);
  }
  const told = claimHeaders(model, tokens[0]?.token ?? "", claims);
  const own: string[] = [];
  for (let at = 0; at < told.length; at += 2) {
    request.raw.push(told[at] ?? "", told[at + 1] ?? "");
    own.push(told[at] ?? "");
  }
  request.lower.push(...own);
  return again(request, request.query, identityOf(claims, model.spaceDelimitedClaims), own);
}

async function verifyAndTell(
  rules: TokenRules,
  found: readonly RuleTokens[],
  request: EditedRequest,
  again: PrepareAgain,
): Promise<PreparedCall | Refusal> {
  try {
    if (rules.strict && hasSeveral(found)) {
      throw new CountersignError("E_JWT_TWO_TOKENS", "the request has more than one token");
    }
    return tell(rules, await verifyByAny(rules, found), request, again);
  } catch (error) {
    const problem = asCountersignError(error, "E_JWT_SIGNATURE", "the token could not be verified");
    const status = refusingStatus(problem.code, rules.strict);
    return new Refusal(problem, status, status === UNAVAILABLE ? [] : CHALLENGE);
  }
}

const UNAUTHENTICATED = 401;
const UNAVAILABLE = 503;

/** Istio's filter answers a token for somebody else with 403, and keys that cannot be had with 401. */
function refusingStatus(code: ErrorCode, strict: boolean): number {
  if (strict) return code === "E_JWKS_UNAVAILABLE" ? UNAVAILABLE : UNAUTHENTICATED;
  return code === "E_JWT_AUDIENCE" ? 403 : UNAUTHENTICATED;
}

/** RFC 6750 section 3.1 */
const CHALLENGE = ["www-authenticate", 'Bearer error="invalid_token"'];

/** The first rule that all tokens in its places satisfy; what stands in other rules' places is not looked at, as in Istio, whose meaning alone
 *  lets several tokens come so far. Rejects with the reason of the rule that came nearest: one of the token's own
 *  issuer, if there is one. */
async function verifyByAny({ strict, clock }: TokenRules, found: readonly RuleTokens[]): Promise<Verified> {
  let problem: CountersignError | undefined;
  const read = readingOnce();
  for (const { rule, tokens } of found) {
    try {
      let claims: JwtClaims | undefined;
      for (const { token } of tokens) {
        // oxlint-disable-next-line no-await-in-loop -- one token, or with Istio's meaning each in turn
        const proven = await verifyByRule(rule, read(token), strict, clock.nowMs());
        claims ??= proven;
      }
      if (claims !== undefined) return { rule, tokens, claims };
    } catch (error) {
      const failed = asCountersignError(error, "E_JWT_SIGNATURE", "the token could not be verified");
      if (problem === undefined || problem.code === "E_JWT_ISSUER") problem = failed;
    }
  }
  throw problem ?? new TypeError("verified without tokens");
}

/** Rules share places: a token is taken apart once, be it good or bad, however many of them look at it. Throws as readUnverifiedJwt. */
function readingOnce(): (token: string) => UnverifiedJwt {
  const read = new Map<string, UnverifiedJwt | CountersignError>();
  return (token) => {
    let result = read.get(token);
    if (result === undefined) {
      result = tryToRead(token);
      read.set(token, result);
    }
    if (result instanceof CountersignError) throw result;
    return result;
  };
}

function tryToRead(token: string): UnverifiedJwt | CountersignError {
  try {
    return readUnverifiedJwt(token);
  } catch (error) {
    if (error instanceof CountersignError) return error;
    throw error;
  }
}

function placeKey({ place }: FoundToken): string {
  return JSON.stringify(place);
}

/** The fields without those that only a verified token may set; the same object if none of them is there. */
export function withoutOwnHeaders(fields: Fields, own: ReadonlySet<string>): Fields {
  if (own.size === 0 || !fields.lower.some((name) => own.has(ownHeaderName(name)))) return fields;
  const request: EditedRequest = { raw: fields.raw, lower: fields.lower, query: "" };
  keepLines(request, (name) => !own.has(ownHeaderName(name)));
  return request;
}

/** Fetch standard, section 4.8: an OPTIONS that asks for leave. */
function isPreflight(method: string, { lower, raw }: Fields): boolean {
  if (method !== "OPTIONS") return false;
  const has = (name: string): boolean => lower.some((one, at) => one === name && raw[at * 2 + 1] !== "");
  return has("origin") && has("access-control-request-method");
}

function identityOf(claims: JwtClaims, spaceDelimitedClaims: readonly string[]): RequestIdentity {
  const { iss, sub, aud, azp } = claims;
  const texts = (value: unknown): readonly string[] =>
    typeof value === "string" ? [value] : Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
  return {
    issuer: typeof iss === "string" ? iss : "",
    subject: typeof sub === "string" ? sub : "",
    audiences: texts(aud),
    presenter: typeof azp === "string" ? azp : "",
    claims,
    spaceDelimitedClaims,
  };
}
