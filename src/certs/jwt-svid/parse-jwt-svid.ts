import type { ErrorCode } from "../../core/error-codes.ts";
import { pathOf, type SpiffeId, spiffeIdProblem } from "../../core/spiffe-id.ts";
import { JsonError, parseStrictJson } from "../strict-json.ts";

/** A JWT-SVID taken apart. Nothing of it is proven: see verifyJwtSvid. */
export interface ParsedJwtSvid {
  readonly algorithm: JwtAlgorithm;
  readonly keyId: string;
  readonly spiffeId: SpiffeId;
  /** Never empty. */
  readonly audience: readonly string[];
  readonly expiresMs: number;
  readonly issuedAtMs: number | undefined;
  readonly notBeforeMs: number | undefined;
  readonly claims: Readonly<Record<string, unknown>>;
  /** What the signature covers. */
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
}

/** Why a token is no JWT-SVID. The message has nothing of the token in it but, at most, a trust domain. */
export class JwtSvidError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, reason: string) {
    super(reason);
    this.code = code;
  }
}

/** Longest token that is looked at. */
const MAX_TOKEN_CHARS = 16_384;
/** Latest moment that a Date can name, in seconds. */
const MAX_SECONDS = 8.64e12;

export interface JwtAlgorithm {
  readonly name: string;
  readonly hash: "sha256" | "sha384" | "sha512";
  readonly keyType: "rsa" | "ec";
  /** OpenSSL's name. */
  readonly curve?: string;
  readonly isPss?: true;
}

/** SPIFFE JWT-SVID section 2.1: asymmetric ones only, and never "none". */
const algorithms: Readonly<Record<string, JwtAlgorithm>> = {
  RS256: { name: "RS256", hash: "sha256", keyType: "rsa" },
  RS384: { name: "RS384", hash: "sha384", keyType: "rsa" },
  RS512: { name: "RS512", hash: "sha512", keyType: "rsa" },
  PS256: { name: "PS256", hash: "sha256", keyType: "rsa", isPss: true },
  PS384: { name: "PS384", hash: "sha384", keyType: "rsa", isPss: true },
  PS512: { name: "PS512", hash: "sha512", keyType: "rsa", isPss: true },
  ES256: { name: "ES256", hash: "sha256", keyType: "ec", curve: "prime256v1" },
  ES384: { name: "ES384", hash: "sha384", keyType: "ec", curve: "secp384r1" },
  ES512: { name: "ES512", hash: "sha512", keyType: "ec", curve: "secp521r1" },
};

/** Takes a compact JWS apart by the SPIFFE JWT-SVID standard (sections 2 and 3) and two rules of ours: a token without
 *  `kid` is refused, and so is a `sub` without path. `jku`, `jwk` and `x5u` of the header are never looked at. Throws
 *  JwtSvidError. */
export function parseJwtSvid(token: string): ParsedJwtSvid {
  if (token.length > MAX_TOKEN_CHARS)
    throw new JwtSvidError("E_JWT_SVID_TOO_LONG", `the token is longer than ${MAX_TOKEN_CHARS} characters`);
  const parts = token.split(".");
  const [headerText, claimsText, signatureText] = parts;
  if (parts.length !== 3 || headerText === undefined || claimsText === undefined || signatureText === undefined)
    throw malformed(`has ${parts.length} parts, not 3`);
  const { algorithm, keyId } = readHeader(readObject(headerText, "header"));
  const claims = readObject(claimsText, "claims set");
  const spiffeId = subjectOf(claims);
  const signature = decodeBase64Url(signatureText);
  if (signature === undefined) throw malformed("has a signature that is no base64url");
  const expiresMs = timeOf(claims, "exp");
  if (expiresMs === undefined) throw new JwtSvidError("E_JWT_SVID_CLAIM", "there is no exp");
  return {
    algorithm,
    keyId,
    spiffeId,
    audience: audienceOf(claims),
    expiresMs,
    issuedAtMs: timeOf(claims, "iat"),
    notBeforeMs: timeOf(claims, "nbf"),
    claims,
    signed: Buffer.from(token.slice(0, token.length - signatureText.length - 1), "latin1"),
    signature,
  };
}

function readHeader(header: Readonly<Record<string, unknown>>): { algorithm: JwtAlgorithm; keyId: string } {
  const { alg, typ, kid } = header;
  const algorithm = typeof alg === "string" && Object.hasOwn(algorithms, alg) ? algorithms[alg] : undefined;
  if (algorithm === undefined)
    throw new JwtSvidError("E_JWT_SVID_ALGORITHM", "alg is not an allowed signature algorithm");
  if (typ !== undefined && typ !== "JWT" && typ !== "JOSE")
    throw new JwtSvidError("E_JWT_SVID_TYPE", "typ is neither JWT nor JOSE");
  // RFC 7515 section 4.1.11: none is understood here, and "b64" would change what is signed.
  if (Object.hasOwn(header, "crit"))
    throw new JwtSvidError("E_JWT_SVID_CRITICAL", "the header has critical extensions");
  if (typeof kid !== "string" || kid === "") throw new JwtSvidError("E_JWT_SVID_KEY_ID", "the header has no kid");
  return { algorithm, keyId: kid };
}

function subjectOf({ sub }: Readonly<Record<string, unknown>>): SpiffeId {
  if (typeof sub !== "string") throw new JwtSvidError("E_JWT_SVID_SUBJECT", "there is no sub");
  const problem = spiffeIdProblem(sub);
  if (problem !== undefined) throw new JwtSvidError("E_JWT_SVID_SUBJECT", `sub ${problem}`);
  if (pathOf(sub as SpiffeId) === "") throw new JwtSvidError("E_JWT_SVID_SUBJECT", "sub names a whole trust domain");
  return sub as SpiffeId;
}

/** RFC 7519 section 4.1.3: one text, or a list of them. */
function audienceOf({ aud }: Readonly<Record<string, unknown>>): readonly string[] {
  if (aud === undefined) throw new JwtSvidError("E_JWT_SVID_CLAIM", "there is no aud");
  const list: unknown = typeof aud === "string" ? [aud] : aud;
  if (!Array.isArray(list) || list.length === 0 || !list.every((one) => typeof one === "string" && one !== ""))
    throw new JwtSvidError("E_JWT_SVID_CLAIM", "aud is neither a text nor a list of texts");
  return list as string[];
}

function timeOf(claims: Readonly<Record<string, unknown>>, name: "exp" | "iat" | "nbf"): number | undefined {
  const seconds = claims[name];
  if (seconds === undefined) return undefined;
  if (typeof seconds !== "number" || !Number.isFinite(seconds) || Math.abs(seconds) > MAX_SECONDS)
    throw new JwtSvidError("E_JWT_SVID_CLAIM", `${name} is no time`);
  return seconds * 1000;
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

function malformed(what: string): JwtSvidError {
  return new JwtSvidError("E_JWT_SVID_MALFORMED", `the token ${what}`);
}
