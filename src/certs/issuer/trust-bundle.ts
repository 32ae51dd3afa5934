import type { TrustDomain } from "../../core/spiffe-id.ts";
import { liveTerms } from "./authority-terms.ts";
import { type JwtAuthority, publicJwk } from "./jwt-authority.ts";
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

const REFRESH_HINT_SECONDS = 300;

/** The X.509 authorities as DER, one after the other, as the Workload API carries them. */
export function x509BundleDer(authorities: AuthoritySet): Buffer {
  return Buffer.concat(authorities.x509.map(({ certificate }) => certificate.raw));
}

export function x509BundlePem(authorities: AuthoritySet): string {
  return authorities.x509.map(({ certificate }) => certificate.toString()).join("");
}

/** The JWT authorities alone as a JWKS document (Workload API, JWTBundlesResponse). */
export function jwtBundleJson(authorities: AuthoritySet): string {
  return JSON.stringify({ keys: jwtKeys(authorities) });
}

/** The whole bundle in the SPIFFE Trust Domain and Bundle format (section 4). */
export function spiffeBundleJson(authorities: AuthoritySet): string {
  const x509Keys = authorities.x509.map(({ certificate }) => ({
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
  return authorities.jwt.map(({ key, keyId }) => ({ use: "jwt-svid", kid: keyId, alg: "ES256", ...publicJwk(key) }));
}
