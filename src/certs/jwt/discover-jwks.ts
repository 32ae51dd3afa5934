import { CountersignError } from "../../core/errors.ts";
import { JsonError, parseStrictJson } from "../strict-json.ts";
import type { FetchDocument } from "./jwks-source.ts";

/** Asks an issuer's OpenID configuration where its keys are (OpenID Connect Discovery 1.0 section 4). The document must name the very issuer
 *  that was asked (section 4.3). Rejects with CountersignError E_JWKS_…. */
export async function discoverJwksUri(issuer: string, fetch: FetchDocument, signal: AbortSignal): Promise<string> {
  const base = issuer.endsWith("/") ? issuer.slice(0, -1) : issuer;
  if (URL.parse(base) === null) {
    throw new CountersignError("E_JWKS_FETCH", "the issuer is no URL, so its keys cannot be discovered", {
      fix: "write jwksUri or jwks into the jwtRule",
    });
  }
  const { text } = await fetch(`${base}/.well-known/openid-configuration`, signal);
  let document: unknown;
  try {
    document = parseStrictJson(text);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new CountersignError("E_JWKS_CONTENT", `the OpenID configuration ${error.message}`);
  }
  const { issuer: named, jwks_uri: uri } = (document ?? {}) as Readonly<Record<string, unknown>>;
  if (named !== issuer) {
    throw new CountersignError("E_JWKS_CONTENT", "the OpenID configuration is of another issuer than was asked");
  }
  if (typeof uri !== "string") throw new CountersignError("E_JWKS_CONTENT", "the OpenID configuration has no jwks_uri");
  return uri;
}
