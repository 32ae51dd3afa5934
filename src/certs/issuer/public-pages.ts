import { jwtAlgorithm } from "./jwt-authority.ts";
import { type Answer, type AnswerRequest, NOT_FOUND, WRONG_METHOD } from "./small-http.ts";
import { type AuthoritySet, oidcKeysJson, REFRESH_HINT_SECONDS, spiffeBundleJson } from "./trust-bundle.ts";

export interface PublicPagesOptions {
  /** undefined: no OIDC pages. */
  readonly oidcIssuer: () => string | undefined;
  readonly authorities: () => AuthoritySet;
}

/** What everybody may read: OIDC discovery and JWKS below the issuer's own path, and the SPIFFE bundle as /bundle. */
export function publicPages(options: PublicPagesOptions): AnswerRequest {
  return async ({ method, path }) => {
    const make = pagesOf(options).get(path);
    if (make === undefined) return NOT_FOUND;
    return method === "GET" || method === "HEAD" ? json(make()) : WRONG_METHOD;
  };
}

/** The bundle endpoint alone, at every path that people write: SPIRE serves it at the root. */
export function bundlePages(authorities: () => AuthoritySet): AnswerRequest {
  return async ({ method, path }) => {
    if (path !== "/" && path !== "/bundle") return NOT_FOUND;
    return method === "GET" || method === "HEAD" ? json(spiffeBundleJson(authorities())) : WRONG_METHOD;
  };
}

function pagesOf({ oidcIssuer, authorities }: PublicPagesOptions): ReadonlyMap<string, () => string> {
  const issuer = oidcIssuer();
  const base = issuer === undefined ? "" : new URL(issuer).pathname.replace(/\/$/, "");
  const pages = new Map([[`${base}/bundle`, () => spiffeBundleJson(authorities())]]);
  if (issuer !== undefined) {
    pages.set(`${base}/.well-known/openid-configuration`, () => discoveryJson(issuer, authorities()));
    pages.set(`${base}/keys`, () => oidcKeysJson(authorities()));
  }
  return pages;
}

/** OpenID Connect Discovery 1.0 section 3, as far as there is no one to log in: what AWS, Azure and GCP ask for to trust tokens. */
function discoveryJson(issuer: string, { jwt }: AuthoritySet): string {
  const document = {
    issuer,
    jwks_uri: `${issuer}/keys`,
    // required by the standard, and empty as SPIRE's is: nobody logs in here
    authorization_endpoint: "",
    response_types_supported: ["id_token"],
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: [...new Set(jwt.map(({ key }) => jwtAlgorithm(key)))],
    claims_supported: ["aud", "exp", "iat", "iss", "sub"],
  };
  return JSON.stringify(document, undefined, 2);
}

function json(body: string): Answer {
  return { status: 200, contentType: "application/json", body: `${body}\n`, maxAgeSeconds: REFRESH_HINT_SECONDS };
}
