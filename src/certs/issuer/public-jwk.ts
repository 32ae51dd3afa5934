import { createPublicKey, type KeyObject } from "node:crypto";

/** The public half of a key as a JWK (RFC 7517, RFC 8037): its public members alone, whatever the key. */
export function publicJwk(key: KeyObject): Readonly<Record<string, string>> {
  const jwk = (key.type === "public" ? key : createPublicKey(key)).export({ format: "jwk" });
  const members = Object.entries(jwk).filter(([name]) => PUBLIC_MEMBERS.has(name));
  return Object.fromEntries(members) as Record<string, string>;
}

const PUBLIC_MEMBERS = new Set(["kty", "crv", "x", "y", "n", "e"]);
