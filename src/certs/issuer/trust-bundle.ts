import { createPublicKey, type X509Certificate } from "node:crypto";
import type { JwtBundle } from "../../core/identity.ts";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import { makeJwtBundle } from "../jwt-svid/jwt-keys.ts";
import { liveTerms } from "./authority-terms.ts";
import { type JwtAuthority, jwtAlgorithm } from "./jwt-authority.ts";
import { publicJwk } from "./public-jwk.ts";
import type { X509Authority } from "./x509-authority.ts";

/** Everything that verifiers of the trust domain must trust at one moment. Immutable. */
export interface AuthoritySet {
  readonly trustDomain: TrustDomain;
  /** Rises with every change, over restarts too (spiffe_sequence). */
  readonly sequence: number;
  readonly x509: readonly X509Authority[];
  readonly jwt: readonly JwtAuthority[];
}

/** The same without what has expired since it was written. */
export function withoutExpired(authorities: AuthoritySet, nowMs: number): AuthoritySet {
  return { ...authorities, x509: liveTerms(authorities.x509, nowMs), jwt: liveTerms(authorities.jwt, nowMs) };
}

/** How often others should ask for the bundle, in seconds (spiffe_refresh_hint). */
export const REFRESH_HINT_SECONDS = 300;

/** The CA certificates that verifiers must trust, each once. */
export function x509Anchors({ x509 }: AuthoritySet): readonly X509Certificate[] {
  const byDer = new Map<string, X509Certificate>();
  for (const { anchors } of x509) for (const anchor of anchors) byDer.set(anchor.raw.toString("base64"), anchor);
  return [...byDer.values()];
}

/** The X.509 authorities as DER, one after the other, as the Workload API carries them. */
export function x509BundleDer(authorities: AuthoritySet): Buffer {
  return Buffer.concat(x509Anchors(authorities).map(({ raw }) => raw));
}

export function x509BundlePem(authorities: AuthoritySet): string {
  return x509Anchors(authorities).join("");
}

/** The JWT authorities alone as a JWKS document (Workload API, JWTBundlesResponse). */
export function jwtBundleJson(authorities: AuthoritySet): string {
  return JSON.stringify({ keys: jwtKeys(authorities) });
}

/** The same of another trust domain's. */
export function jwtKeysJson({ keys }: JwtBundle): string {
  return JSON.stringify({ keys: keys.map(({ keyId, key }) => ({ use: "jwt-svid", kid: keyId, ...publicJwk(key) })) });
}

/** The JWT authorities, as tokens are verified with. */
export function jwtBundleOf({ trustDomain, jwt }: AuthoritySet): JwtBundle {
  return makeJwtBundle(
    trustDomain,
    jwt.map(({ keyId, key }) => ({ keyId, key: createPublicKey(key) })),
  );
}

/** The keys as relying parties of OpenID Connect take them (RFC 7517): they know `sig`, not `jwt-svid`. */
export function oidcKeysJson({ jwt }: AuthoritySet): string {
  const keys = jwt.map(({ key, keyId }) => ({ use: "sig", kid: keyId, alg: jwtAlgorithm(key), ...publicJwk(key) }));
  return JSON.stringify({ keys }, undefined, 2);
}

/** The whole bundle in the SPIFFE Trust Domain and Bundle format (section 4). */
export function spiffeBundleJson(authorities: AuthoritySet): string {
  const x509Keys = x509Anchors(authorities).map((certificate) => ({
    use: "x509-svid",
    ...publicJwk(certificate.publicKey),
    x5c: [certificate.raw.toString("base64")],
  }));
  const document = {
    keys: [...x509Keys, ...jwtKeys(authorities)],
    spiffe_sequence: authorities.sequence,
    spiffe_refresh_hint: REFRESH_HINT_SECONDS,
  };
  return JSON.stringify(document, undefined, 2);
}

function jwtKeys(authorities: AuthoritySet): object[] {
  return authorities.jwt.map(({ key, keyId }) => ({
    use: "jwt-svid",
    kid: keyId,
    alg: jwtAlgorithm(key),
    ...publicJwk(key),
  }));
}
