import { createPublicKey, generateKeyPair, type KeyObject, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { SignJWT } from "jose/jwt/sign";
import type { SpiffeId } from "../../core/spiffe-id.ts";
import type { Term } from "./authority-terms.ts";

/** A key that signs JWT-SVIDs with ES256. The key is secret. */
export interface JwtAuthority extends Term {
  /** The `kid` by which verifiers find the public half. */
  readonly keyId: string;
  readonly key: KeyObject;
}

const generate = promisify(generateKeyPair);

export async function createJwtAuthority(ttlMs: number, nowMs: number): Promise<JwtAuthority> {
  const { privateKey } = await generate("ec", { namedCurve: "P-256" });
  return { keyId: randomBytes(16).toString("base64url"), key: privateKey, createdMs: nowMs, notAfterMs: nowMs + ttlMs };
}

/** Issues a JWT-SVID (SPIFFE JWT-SVID sections 2 and 3): sub, aud, iat, exp. It never outlives its key.
 *  Returns the compact JWS: a secret. */
export async function issueJwtSvid(
  authority: JwtAuthority,
  spiffeId: SpiffeId,
  audience: readonly string[],
  ttlMs: number,
  nowMs: number,
): Promise<{ readonly token: string; readonly notAfterMs: number }> {
  const notAfterSeconds = Math.floor(Math.min(nowMs + ttlMs, authority.notAfterMs) / 1000);
  const token = await new SignJWT({ sub: spiffeId, aud: [...audience] })
    .setProtectedHeader({ alg: "ES256", kid: authority.keyId, typ: "JWT" })
    .setIssuedAt(Math.floor(nowMs / 1000))
    .setExpirationTime(notAfterSeconds)
    .sign(authority.key);
  return { token, notAfterMs: notAfterSeconds * 1000 };
}

export interface PublicJwk {
  readonly kty: string;
  readonly crv: string;
  readonly x: string;
  readonly y: string;
}

/** The public half of an EC P-256 key as a JWK (RFC 7518 section 6.2.1). */
export function publicJwk(key: KeyObject): PublicJwk {
  const { kty, crv, x, y } = (key.type === "public" ? key : createPublicKey(key)).export({ format: "jwk" });
  if (kty === undefined || crv === undefined || x === undefined || y === undefined)
    throw new TypeError("not an elliptic curve key");
  return { kty, crv, x, y };
}
