import type { SpiffeId, TrustDomain } from "./spiffe-id.ts";

/** One federation relationship as it is configured. Trust domain, URL and profile are given each for itself, never derived
 *  from one another (SPIFFE Federation section 4). */
export interface FederationPartner {
  readonly trustDomain: TrustDomain;
  /** An https URL: see federationUrlProblem. */
  readonly url: string;
  /** How the endpoint proves itself (SPIFFE Federation section 5.2): by a web certificate for its host, or by an X.509-SVID. */
  readonly profile:
    | {
        readonly kind: "https_web";
        /** Absolute path of a PEM file with the CAs to trust; undefined: the public roots. */
        readonly roots: string | undefined;
      }
    | { readonly kind: "https_spiffe"; readonly endpointId: SpiffeId };
  /** Absolute path of the partner's bundle, PEM or JWKS. Needed for https_spiffe, unless the endpoint's identity is of a
   *  trust domain whose bundle is known otherwise. */
  readonly bootstrap: string | undefined;
}

/** Why a text is no URL of a bundle endpoint (SPIFFE Federation section 5.1), or undefined if it is one. */
export function federationUrlProblem(text: string): string | undefined {
  const url = URL.parse(text);
  if (url === null) return "is no URL";
  if (url.protocol !== "https:") return "is not https";
  if (url.username !== "" || url.password !== "") return "has a user or password in it";
  if (url.hash !== "") return "has a fragment";
  return undefined;
}
