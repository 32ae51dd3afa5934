import { generateKeyPair, type KeyObject, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { SignJWT } from "jose/jwt/sign";
import type { SpiffeId } from "../../core/spiffe-id.ts";
import type { Term } from "./authority-terms.ts";

/** Kinds of keys, by SPIRE's names (jwt_key_type). */
export const jwtKeyTypes = ["ec-p256", "rsa-2048"] as const;
export type JwtKeyType = (typeof jwtKeyTypes)[number];

/** A key that signs JWT-SVIDs. The key is secret. */
export interface JwtAuthority extends Term {
  /** The `kid` by which verifiers find the public half. */
  readonly keyId: string;
  readonly key: KeyObject;
}

const generate = promisify(generateKeyPair);

export async function createJwtAuthority(
  keyType: JwtKeyType,
  ttlMs: number,
  nowMs: number,
  activatesMs?: number,
): Promise<JwtAuthority> {
  const { privateKey } =
    keyType === "rsa-2048"
      ? await generate("rsa", { modulusLength: 2048 })
      : await generate("ec", { namedCurve: "P-256" });
  const keyId = randomBytes(16).toString("base64url");
  return { keyId, key: privateKey, createdMs: nowMs, notAfterMs: nowMs + ttlMs, activatesMs };
}

/** The kind of an authority's key, or undefined when it is none that this issuer makes. */
export function jwtKeyTypeOf({ asymmetricKeyType, asymmetricKeyDetails: details }: KeyObject): JwtKeyType | undefined {
  if (asymmetricKeyType === "ec" && details?.namedCurve === "prime256v1") return "ec-p256";
  return asymmetricKeyType === "rsa" && details?.modulusLength === 2048 ? "rsa-2048" : undefined;
}

/** `alg` of the tokens that a key signs. */
export function jwtAlgorithm(key: KeyObject): "ES256" | "RS256" {
  return key.asymmetricKeyType === "rsa" ? "RS256" : "ES256";
}

export interface JwtSvidParams {
  readonly spiffeId: SpiffeId;
  readonly audience: readonly string[];
  readonly ttlMs: number;
  /** `iss`: the OIDC issuer, if there is one. */
  readonly issuer: string | undefined;
}

/** Issues a JWT-SVID (SPIFFE JWT-SVID sections 2 and 3): sub, aud, iat, exp, and iss for OIDC. It never outlives its key.
 *  Returns the compact JWS: a secret. */
export async function issueJwtSvid(
  authority: JwtAuthority,
  { spiffeId, audience, ttlMs, issuer }: JwtSvidParams,
  nowMs: number,
): Promise<{ readonly token: string; readonly notAfterMs: number }> {
  const notAfterSeconds = Math.floor(Math.min(nowMs + ttlMs, authority.notAfterMs) / 1000);
  const token = await new SignJWT({
    sub: spiffeId,
    aud: [...audience],
    ...(issuer === undefined ? {} : { iss: issuer }),
  })
    .setProtectedHeader({ alg: jwtAlgorithm(authority.key), kid: authority.keyId, typ: "JWT" })
    .setIssuedAt(Math.floor(nowMs / 1000))
    .setExpirationTime(notAfterSeconds)
    .sign(authority.key);
  return { token, notAfterMs: notAfterSeconds * 1000 };
}
