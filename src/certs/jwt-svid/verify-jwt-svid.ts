import { constants, type KeyObject, verify } from "node:crypto";
import type { ErrorCode } from "../../core/error-codes.ts";
import type { JwtBundle } from "../../core/identity.ts";
import { type SpiffeId, type TrustDomain, trustDomainOf } from "../../core/spiffe-id.ts";
import { type JwtAlgorithm, JwtSvidError, parseJwtSvid } from "./parse-jwt-svid.ts";

export interface ProvenJwtSvid {
  readonly kind: "verified";
  readonly spiffeId: SpiffeId;
  /** Every claim of the token. */
  readonly claims: Readonly<Record<string, unknown>>;
  readonly issuedAtMs: number | undefined;
  /** From this moment on it proves nothing any more. */
  readonly expiresMs: number;
  /** Version of the bundle that proved it. */
  readonly bundleVersion: string;
}

/** `reason` is one line and has nothing of the token in it but, at most, a SPIFFE ID's trust domain. */
export type JwtSvidVerdict =
  | ProvenJwtSvid
  | { readonly kind: "refused"; readonly code: ErrorCode; readonly reason: string };

/** How far the issuer's clock may be ahead of ours: iat and nbf are of its making, and nobody backdates them. */
const LEEWAY_MS = 30_000;

/** Verifies a JWT-SVID by the SPIFFE JWT-SVID standard (sections 2 to 5). The key comes by `kid` from the bundle of the
 *  subject's trust domain alone. It must be for one of `audiences`. Synchronous, so that a call is judged in one go; a
 *  signature check takes 30 to 300 µs. Never throws for what a peer sends. */
export function verifyJwtSvid(
  token: string,
  audiences: readonly string[],
  bundles: ReadonlyMap<TrustDomain, JwtBundle>,
  nowMs: number,
): JwtSvidVerdict {
  try {
    return judge(token, audiences, bundles, nowMs);
  } catch (error) {
    if (error instanceof JwtSvidError) return { kind: "refused", code: error.code, reason: error.message };
    throw error;
  }
}

function judge(
  token: string,
  audiences: readonly string[],
  bundles: ReadonlyMap<TrustDomain, JwtBundle>,
  nowMs: number,
): ProvenJwtSvid {
  const { algorithm, keyId, spiffeId, audience, claims, signed, signature, ...times } = parseJwtSvid(token);
  const trustDomain = trustDomainOf(spiffeId);
  const bundle = bundles.get(trustDomain);
  if (bundle === undefined) throw new JwtSvidError("E_JWT_SVID_NO_BUNDLE", `there is no JWT bundle for ${trustDomain}`);
  const key = bundle.keys.find((one) => one.keyId === keyId)?.key;
  if (key === undefined) throw new JwtSvidError("E_JWT_SVID_KEY_UNKNOWN", `kid names no key of ${trustDomain}`);
  if (!fits(algorithm, key))
    throw new JwtSvidError("E_JWT_SVID_ALGORITHM", "alg is not one for the key that kid names");
  if (!isSignedBy(signed, signature, algorithm, key))
    throw new JwtSvidError("E_JWT_SVID_SIGNATURE", "the signature does not hold");

  const { expiresMs, issuedAtMs, notBeforeMs } = times;
  if (nowMs >= expiresMs) throw new JwtSvidError("E_JWT_SVID_EXPIRED", `the token expired at ${isoTime(expiresMs)}`);
  for (const [name, ms] of [["nbf", notBeforeMs] as const, ["iat", issuedAtMs] as const])
    if (ms !== undefined && ms > nowMs + LEEWAY_MS)
      throw new JwtSvidError("E_JWT_SVID_NOT_YET_VALID", `${name} is ${isoTime(ms)}, which is yet to come`);
  if (!audience.some((one) => audiences.includes(one)))
    throw new JwtSvidError("E_JWT_SVID_AUDIENCE", "the token is for another audience");
  return { kind: "verified", spiffeId, claims, issuedAtMs, expiresMs, bundleVersion: bundle.version };
}

function fits({ keyType, curve }: JwtAlgorithm, key: KeyObject): boolean {
  return key.asymmetricKeyType === keyType && (curve === undefined || key.asymmetricKeyDetails?.namedCurve === curve);
}

function isSignedBy(
  signed: Uint8Array,
  signature: Uint8Array,
  { hash, keyType, isPss }: JwtAlgorithm,
  key: KeyObject,
): boolean {
  const scheme =
    keyType === "ec"
      ? { key, dsaEncoding: "ieee-p1363" as const }
      : isPss === true
        ? { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
        : { key, padding: constants.RSA_PKCS1_PADDING };
  try {
    return verify(hash, signed, scheme, signature);
  } catch {
    return false;
  }
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
