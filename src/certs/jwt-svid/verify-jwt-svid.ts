import { constants, type KeyObject, verify } from "node:crypto";
import type { ErrorCode } from "../../core/error-codes.ts";
import type { JwtBundle } from "../../core/identity.ts";
import { pathOf, type SpiffeId, spiffeIdProblem, type TrustDomain, trustDomainOf } from "../../core/spiffe-id.ts";
import { JsonError, parseStrictJson } from "../strict-json.ts";

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

/** Longest token that is looked at. */
export const MAX_TOKEN_CHARS = 16_384;
/** How far the issuer's clock may be ahead of ours: iat and nbf are of its making, and nobody backdates them. */
const LEEWAY_MS = 30_000;
/** Latest moment that a Date can name, in seconds. */
const MAX_SECONDS = 8.64e12;

interface Algorithm {
  readonly hash: string;
  readonly keyType: "rsa" | "ec";
  readonly curve?: string;
  readonly isPss?: true;
}

/** SPIFFE JWT-SVID section 2.1: asymmetric ones only, and never "none". */
const algorithms: Readonly<Record<string, Algorithm>> = {
  RS256: { hash: "sha256", keyType: "rsa" },
  RS384: { hash: "sha384", keyType: "rsa" },
  RS512: { hash: "sha512", keyType: "rsa" },
  PS256: { hash: "sha256", keyType: "rsa", isPss: true },
  PS384: { hash: "sha384", keyType: "rsa", isPss: true },
  PS512: { hash: "sha512", keyType: "rsa", isPss: true },
  ES256: { hash: "sha256", keyType: "ec", curve: "prime256v1" },
  ES384: { hash: "sha384", keyType: "ec", curve: "secp384r1" },
  ES512: { hash: "sha512", keyType: "ec", curve: "secp521r1" },
};

class Refused extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, reason: string) {
    super(reason);
    this.code = code;
  }
}

/** Verifies a JWT-SVID by the SPIFFE JWT-SVID standard (sections 2 to 5) and two rules of ours: a token without `kid`
 *  is refused, and so is a `sub` without path. The key comes by `kid` from the bundle of the subject's trust domain
 *  alone; `jku`, `jwk` and `x5u` of the header are never looked at. It must be for one of `audiences`. Synchronous, so that
 *  a call is judged in one go; a signature check takes 30 to 300 µs. Never throws for what a peer sends. */
export function verifyJwtSvid(
  token: string,
  audiences: readonly string[],
  bundles: ReadonlyMap<TrustDomain, JwtBundle>,
  nowMs: number,
): JwtSvidVerdict {
  try {
    return judge(token, audiences, bundles, nowMs);
  } catch (error) {
    if (error instanceof Refused) return { kind: "refused", code: error.code, reason: error.message };
    throw error;
  }
}

function judge(
  token: string,
  audiences: readonly string[],
  bundles: ReadonlyMap<TrustDomain, JwtBundle>,
  nowMs: number,
): ProvenJwtSvid {
  if (token.length > MAX_TOKEN_CHARS)
    throw new Refused("E_JWT_SVID_TOO_LONG", `the token is longer than ${MAX_TOKEN_CHARS} characters`);
  const parts = token.split(".");
  const [headerText, claimsText, signatureText] = parts;
  if (parts.length !== 3 || headerText === undefined || claimsText === undefined || signatureText === undefined)
    throw malformed(`has ${parts.length} parts, not 3`);
  const { algorithm, keyId } = readHeader(readObject(headerText, "header"));
  const claims = readObject(claimsText, "claims set");
  const spiffeId = subjectOf(claims);
  const signature = decodeBase64Url(signatureText);
  if (signature === undefined) throw malformed("has a signature that is no base64url");

  const trustDomain = trustDomainOf(spiffeId);
  const bundle = bundles.get(trustDomain);
  if (bundle === undefined) throw new Refused("E_JWT_SVID_NO_BUNDLE", `there is no JWT bundle for ${trustDomain}`);
  const key = bundle.keys.find((one) => one.keyId === keyId)?.key;
  if (key === undefined) throw new Refused("E_JWT_SVID_KEY_UNKNOWN", `kid names no key of ${trustDomain}`);
  if (!fits(algorithm, key)) throw new Refused("E_JWT_SVID_ALGORITHM", "alg is not one for the key that kid names");
  const signed = Buffer.from(token.slice(0, token.length - signatureText.length - 1), "latin1");
  if (!isSignedBy(signed, signature, algorithm, key))
    throw new Refused("E_JWT_SVID_SIGNATURE", "the signature does not hold");

  const expiresMs = timeOf(claims, "exp");
  if (expiresMs === undefined) throw new Refused("E_JWT_SVID_CLAIM", "there is no exp");
  if (nowMs >= expiresMs) throw new Refused("E_JWT_SVID_EXPIRED", `the token expired at ${isoTime(expiresMs)}`);
  const issuedAtMs = timeOf(claims, "iat");
  for (const [name, ms] of [["nbf", timeOf(claims, "nbf")] as const, ["iat", issuedAtMs] as const])
    if (ms !== undefined && ms > nowMs + LEEWAY_MS)
      throw new Refused("E_JWT_SVID_NOT_YET_VALID", `${name} is ${isoTime(ms)}, which is yet to come`);
  if (!audienceOf(claims).some((one) => audiences.includes(one)))
    throw new Refused("E_JWT_SVID_AUDIENCE", "the token is for another audience");
  return { kind: "verified", spiffeId, claims, issuedAtMs, expiresMs, bundleVersion: bundle.version };
}

function readHeader(header: Readonly<Record<string, unknown>>): { algorithm: Algorithm; keyId: string } {
  const { alg, typ, kid } = header;
  const algorithm = typeof alg === "string" && Object.hasOwn(algorithms, alg) ? algorithms[alg] : undefined;
  if (algorithm === undefined) throw new Refused("E_JWT_SVID_ALGORITHM", "alg is not an allowed signature algorithm");
  if (typ !== undefined && typ !== "JWT" && typ !== "JOSE")
    throw new Refused("E_JWT_SVID_TYPE", "typ is neither JWT nor JOSE");
  // RFC 7515 section 4.1.11: none is understood here, and "b64" would change what is signed.
  if (Object.hasOwn(header, "crit")) throw new Refused("E_JWT_SVID_CRITICAL", "the header has critical extensions");
  if (typeof kid !== "string" || kid === "") throw new Refused("E_JWT_SVID_KEY_ID", "the header has no kid");
  return { algorithm, keyId: kid };
}

function subjectOf({ sub }: Readonly<Record<string, unknown>>): SpiffeId {
  if (typeof sub !== "string") throw new Refused("E_JWT_SVID_SUBJECT", "there is no sub");
  const problem = spiffeIdProblem(sub);
  if (problem !== undefined) throw new Refused("E_JWT_SVID_SUBJECT", `sub ${problem}`);
  if (pathOf(sub as SpiffeId) === "") throw new Refused("E_JWT_SVID_SUBJECT", "sub names a whole trust domain");
  return sub as SpiffeId;
}

/** RFC 7519 section 4.1.3: one text, or a list of them. */
function audienceOf({ aud }: Readonly<Record<string, unknown>>): readonly string[] {
  if (aud === undefined) throw new Refused("E_JWT_SVID_CLAIM", "there is no aud");
  const list: unknown = typeof aud === "string" ? [aud] : aud;
  if (!Array.isArray(list) || list.length === 0 || !list.every((one) => typeof one === "string" && one !== ""))
    throw new Refused("E_JWT_SVID_CLAIM", "aud is neither a text nor a list of texts");
  return list as string[];
}

function timeOf(claims: Readonly<Record<string, unknown>>, name: "exp" | "iat" | "nbf"): number | undefined {
  const seconds = claims[name];
  if (seconds === undefined) return undefined;
  if (typeof seconds !== "number" || !Number.isFinite(seconds) || Math.abs(seconds) > MAX_SECONDS)
    throw new Refused("E_JWT_SVID_CLAIM", `${name} is no time`);
  return seconds * 1000;
}

function fits({ keyType, curve }: Algorithm, key: KeyObject): boolean {
  return key.asymmetricKeyType === keyType && (curve === undefined || key.asymmetricKeyDetails?.namedCurve === curve);
}

function isSignedBy(
  signed: Uint8Array,
  signature: Uint8Array,
  { hash, keyType, isPss }: Algorithm,
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

function readObject(text: string, what: string): Readonly<Record<string, unknown>> {
  const bytes = decodeBase64Url(text);
  if (bytes === undefined) throw malformed(`has a ${what} that is no base64url`);
  let value: unknown;
  try {
    value = parseStrictJson(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    if (error instanceof JsonError) throw malformed(`has a ${what} that is no JSON, or has a key twice`);
    throw malformed(`has a ${what} that is no UTF-8`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw malformed(`has a ${what} that is no JSON object`);
  return value as Record<string, unknown>;
}

/** RFC 7515 section 2: no padding, nothing else; Buffer.from skips what it doesn't know. */
function decodeBase64Url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64url");
  return bytes.length > 0 && bytes.toString("base64url") === text ? bytes : undefined;
}

function malformed(what: string): Refused {
  return new Refused("E_JWT_SVID_MALFORMED", `the token ${what}`);
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
