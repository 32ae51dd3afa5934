import {
  JOSEAlgNotAllowed,
  JOSENotSupported,
  JWSInvalid,
  JWSSignatureVerificationFailed,
  JWTClaimValidationFailed,
  JWTExpired,
  JWTInvalid,
} from "jose/errors";
import { CountersignError } from "../../core/errors.ts";
import type { JwtKey, JwtKeySet } from "./jwk-set.ts";
import type { UnverifiedJwt } from "./read-jwt.ts";

/** What a token must say once its signature holds. */
export interface JwtRequirements {
  /** What `iss` must be. */
  readonly issuer: string;
  /** One of these must be in `aud`. Empty: see `needsAudience`. */
  readonly audiences: readonly string[];
  /** Without `audiences` no token is right; else every audience is. */
  readonly needsAudience: boolean;
  readonly needsExpiry: boolean;
  /** By how much clocks may differ, milliseconds. */
  readonly clockSkewMs: number;
}

/** A token's claims set, proven by its issuer's key. */
export type JwtClaims = Readonly<Record<string, unknown>>;

/** Keys without kid are tried one after the other; each try costs about a tenth of a millisecond. */
const MAX_TRIES = 8;

/** The keys of a set that may have signed a token: of its kid (or without any), for its algorithm. Empty: none. */
export function keysFor(set: JwtKeySet, { kid, algorithm }: UnverifiedJwt): readonly JwtKey[] {
  return set.keys.filter(
    (key) => (kid === undefined || key.kid === undefined || key.kid === kid) && key.algorithms.includes(algorithm),
  );
}

/** Whether a set names the token's kid at all: with other algorithms then, and fetching it anew would not help. */
export function namesKid(set: JwtKeySet, { kid }: UnverifiedJwt): boolean {
  return kid !== undefined && set.keys.some((key) => key.kid === kid);
}

/** Verifies signature and claims (RFC 7519 section 7.2). `keys`: from keysFor. Rejects with CountersignError E_JWT_…, whose message has
 *  nothing of the token in it. */
export async function verifyJwt(
  jwt: UnverifiedJwt,
  keys: readonly JwtKey[],
  requirements: JwtRequirements,
  nowMs: number,
): Promise<JwtClaims> {
  const { issuer, audiences, needsAudience, needsExpiry, clockSkewMs } = requirements;
  if (jwt.issuer !== issuer) throw new CountersignError("E_JWT_ISSUER", "the token is of another issuer");
  if (needsAudience && audiences.length === 0) {
    throw new CountersignError("E_JWT_AUDIENCE", "the jwtRule names no audiences");
  }
  const options = {
    algorithms: [jwt.algorithm],
    issuer,
    ...(audiences.length === 0 ? {} : { audience: [...audiences] }),
    requiredClaims: needsExpiry ? ["exp"] : [],
    clockTolerance: clockSkewMs / 1000,
    currentDate: new Date(nowMs),
  };
  let failure: unknown = new CountersignError("E_JWT_KEY_UNKNOWN", "no key of the issuer fits the token");
  for (const { key } of keys.slice(0, MAX_TRIES)) {
    try {
      // oxlint-disable-next-line no-await-in-loop -- the next key only if this one has not signed it
      // loaded when the first token comes: most sidecars see none
      const { jwtVerify } = await import("jose/jwt/verify");
      const { payload } = await jwtVerify(jwt.token, key, options);
      return payload;
    } catch (error) {
      failure = error;
      // the signature held: no other key makes the claims better
      if (!(error instanceof JWSSignatureVerificationFailed)) break;
    }
  }
  throw failure instanceof CountersignError ? failure : refusal(failure);
}

function refusal(error: unknown): CountersignError {
  if (error instanceof JWTExpired) return new CountersignError("E_JWT_EXPIRED", "the token has expired");
  if (error instanceof JWTClaimValidationFailed) {
    const { claim, reason } = error;
    if (claim === "aud") return new CountersignError("E_JWT_AUDIENCE", "the token is for another audience");
    if (claim === "iss") return new CountersignError("E_JWT_ISSUER", "the token is of another issuer");
    if (claim === "nbf" && reason === "check_failed") {
      return new CountersignError("E_JWT_NOT_YET_VALID", "the token is not valid yet");
    }
    const what = reason === "missing" ? "is missing" : "is not what it must be";
    return new CountersignError("E_JWT_CLAIMS", `the token's claim ${claim} ${what}`);
  }
  if (error instanceof JWSSignatureVerificationFailed) {
    return new CountersignError("E_JWT_SIGNATURE", "the token's signature does not hold");
  }
  if (error instanceof JOSEAlgNotAllowed || error instanceof JOSENotSupported) {
    return new CountersignError("E_JWT_ALGORITHM", "the token's alg does not fit its key");
  }
  if (error instanceof JWTInvalid || error instanceof JWSInvalid) {
    return new CountersignError("E_JWT_MALFORMED", "the token is not a valid JWT");
  }
  return new CountersignError("E_JWT_SIGNATURE", "the token's signature cannot be verified", { cause: error });
}
