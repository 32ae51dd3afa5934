import type { JwtKeySet } from "../../certs/jwt/jwk-set.ts";
import type { UnverifiedJwt } from "../../certs/jwt/read-jwt.ts";
import { type JwtClaims, keysFor, namesKid, verifyJwt } from "../../certs/jwt/verify-jwt.ts";
import { CountersignError } from "../../core/errors.ts";
import type { TokenRule } from "./token-rules.ts";

const STRICT_SKEW_MS = 30_000;
/** Envoy's clock_skew_seconds. */
const ISTIO_SKEW_MS = 60_000;

/** Verifies a token by one rule, waiting for a fetch of keys only where none are there, or the token's may be missing: its kid is not in the set,
 *  and no key without kid has signed it. Rejects with CountersignError E_JWT_…, or E_JWKS_UNAVAILABLE where there is nothing to verify with. */
export async function verifyByRule(
  rule: TokenRule,
  jwt: UnverifiedJwt,
  strict: boolean,
  nowMs: number,
): Promise<JwtClaims> {
  const { model, keys } = rule;
  if (jwt.issuer !== model.issuer) throw new CountersignError("E_JWT_ISSUER", "no jwtRule is for the token's issuer");
  keys.wake();
  if (keys.current === undefined) await keys.pending;
  const set = keys.current;
  if (set === undefined) {
    throw new CountersignError("E_JWKS_UNAVAILABLE", "the keys of the token's issuer could not be fetched");
  }
  try {
    return await verifyBySet(rule, jwt, set, strict, nowMs);
  } catch (error) {
    if (!mayBeMissing(error, set, jwt)) throw error;
    await keys.missing();
    const { current } = keys;
    if (current === undefined || current === set) throw error;
    return await verifyBySet(rule, jwt, current, strict, nowMs);
  }
}

/** Whether the issuer may have published the token's key since. */
function mayBeMissing(error: unknown, set: JwtKeySet, jwt: UnverifiedJwt): boolean {
  if (jwt.kid === undefined || namesKid(set, jwt) || !(error instanceof CountersignError)) return false;
  return error.code === "E_JWT_KEY_UNKNOWN" || error.code === "E_JWT_SIGNATURE";
}

async function verifyBySet(
  { model, verified }: TokenRule,
  jwt: UnverifiedJwt,
  set: JwtKeySet,
  strict: boolean,
  nowMs: number,
): Promise<JwtClaims> {
  const fitting = keysFor(set, jwt);
  if (fitting.length === 0 && jwt.kid !== undefined && !namesKid(set, jwt)) {
    throw new CountersignError("E_JWT_KEY_UNKNOWN", "the issuer's key set does not have the token's kid");
  }
  if (fitting.length === 0) {
    throw new CountersignError("E_JWT_ALGORITHM", "the token's alg fits no key that its issuer publishes for it");
  }
  const clockSkewMs = strict ? STRICT_SKEW_MS : ISTIO_SKEW_MS;
  const { issuer, audiences } = model;
  const requirements = { issuer, audiences, needsAudience: strict, needsExpiry: strict, clockSkewMs };
  const claims = await verifyJwt(jwt, fitting, requirements, nowMs);
  verified.keep(jwt.token, set, claims, clockSkewMs);
  return claims;
}
