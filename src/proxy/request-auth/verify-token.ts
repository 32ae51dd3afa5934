import type { UnverifiedJwt } from "../../certs/jwt/read-jwt.ts";
import { type JwtClaims, keysFor, namesKid, verifyJwt } from "../../certs/jwt/verify-jwt.ts";
import { CountersignError } from "../../core/errors.ts";
import type { TokenRule } from "./token-rules.ts";

const STRICT_SKEW_MS = 30_000;
/** Envoy's clock_skew_seconds. */
const ISTIO_SKEW_MS = 60_000;

/** Verifies a token by one rule, waiting for a fetch of keys only where none are there or the token's is missing. Rejects with
 *  CountersignError E_JWT_…, or E_JWKS_UNAVAILABLE where there is nothing to verify with. */
export async function verifyByRule(
  { model, keys, verified }: TokenRule,
  jwt: UnverifiedJwt,
  strict: boolean,
  nowMs: number,
): Promise<JwtClaims> {
  if (jwt.issuer !== model.issuer) throw new CountersignError("E_JWT_ISSUER", "no jwtRule is for the token's issuer");
  if (keys.current === undefined) await keys.pending;
  let set = keys.current;
  if (set === undefined) {
    throw new CountersignError("E_JWKS_UNAVAILABLE", "the keys of the token's issuer could not be fetched");
  }
  let fitting = keysFor(set, jwt);
  if (fitting.length === 0 && jwt.kid !== undefined && !namesKid(set, jwt)) {
    await keys.missing();
    set = keys.current ?? set;
    fitting = keysFor(set, jwt);
    if (fitting.length === 0 && !namesKid(set, jwt)) {
      throw new CountersignError("E_JWT_KEY_UNKNOWN", "the issuer's key set does not have the token's kid");
    }
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
