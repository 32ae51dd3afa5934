import { createPublicKey } from "node:crypto";
import { decodeProtectedHeader } from "jose/decode/protected_header";
import { JOSEError } from "jose/errors";
import { decodeJwt } from "jose/jwt/decode";
import { jwtVerify } from "jose/jwt/verify";
import { CountersignError } from "../../core/errors.ts";
import { parseSpiffeId, type SpiffeId, trustDomainOf } from "../../core/spiffe-id.ts";
import type { AuthoritySet } from "./trust-bundle.ts";

/** SPIFFE JWT-SVID section 2.1: asymmetric only, and never "none". */
const ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"];
const MAX_TOKEN_CHARS = 16_384;

export interface JwtSvidClaims {
  readonly spiffeId: SpiffeId;
  /** Every claim of the token, as JSON values. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Validates a JWT-SVID for one audience by the SPIFFE JWT-SVID standard (sections 2 to 4) and one rule of ours: a token
 *  without `kid` is refused. The key comes by `kid` from the bundle of the subject's trust domain; `jku`, `jwk` and `x5u` of
 *  the header are never looked at. Throws CountersignError E_JWT_SVID, whose message has nothing of the token in it. */
export async function validateJwtSvid(
  token: string,
  audience: string,
  bundle: AuthoritySet,
  nowMs: number,
): Promise<JwtSvidClaims> {
  if (audience === "") throw refusal("no audience to validate for");
  if (token.length > MAX_TOKEN_CHARS) throw refusal(`the token is longer than ${MAX_TOKEN_CHARS} characters`);
  const { keyId, subject } = readUnverified(token);
  if (trustDomainOf(subject) !== bundle.trustDomain) throw refusal("no bundle for the trust domain of sub");
  const authority = bundle.jwt.find((candidate) => candidate.keyId === keyId);
  if (authority === undefined) throw refusal("kid names no key of the bundle");
  try {
    const { payload } = await jwtVerify(token, createPublicKey(authority.key), {
      algorithms: ALGORITHMS,
      audience,
      requiredClaims: ["sub", "aud", "exp"],
      currentDate: new Date(nowMs),
    });
    return { spiffeId: subject, claims: payload };
  } catch (error) {
    throw refusal(reasonOf(error));
  }
}

/** What the key's choice depends on. The signature covers both, and is checked afterwards. */
function readUnverified(token: string): { readonly keyId: string; readonly subject: SpiffeId } {
  let header: Readonly<Record<string, unknown>>;
  let subject: unknown;
  try {
    header = decodeProtectedHeader(token);
    subject = decodeJwt(token).sub;
  } catch {
    throw refusal("not a compact JWS with a JSON claims set");
  }
  const { alg, typ, kid } = header;
  if (typeof alg !== "string" || !ALGORITHMS.includes(alg)) throw refusal("alg is not an allowed signature algorithm");
  if (typ !== undefined && typ !== "JWT" && typ !== "JOSE") throw refusal("typ is neither JWT nor JOSE");
  if (typeof kid !== "string" || kid === "") throw refusal("the header has no kid");
  if (typeof subject !== "string") throw refusal("there is no sub");
  try {
    return { keyId: kid, subject: parseSpiffeId(subject) };
  } catch {
    throw refusal("sub is not a SPIFFE ID");
  }
}

/** Jose names the claim and the check that failed. */
function reasonOf(error: unknown): string {
  if (!(error instanceof JOSEError)) return "the signature cannot be verified";
  const claim = "claim" in error && typeof error.claim === "string" ? error.claim : undefined;
  if (error.code === "ERR_JWT_EXPIRED") return "the token has expired";
  return claim === undefined ? `the token is refused (${error.code})` : `the claim ${claim} does not hold`;
}

function refusal(reason: string): CountersignError {
  return new CountersignError("E_JWT_SVID", reason);
}
