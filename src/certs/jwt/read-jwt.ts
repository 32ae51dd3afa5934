import { decodeProtectedHeader } from "jose/decode/protected_header";
import { decodeJwt } from "jose/jwt/decode";
import { CountersignError } from "../../core/errors.ts";
import { checkStrictJson, JsonError } from "../strict-json.ts";

/** What a token says about itself before anything of it is proven: good for choosing rule and key, for nothing else. */
export interface UnverifiedJwt {
  /** The compact form. Secret. */
  readonly token: string;
  readonly algorithm: string;
  readonly kid: string | undefined;
  /** `iss`, "" if there is none. */
  readonly issuer: string;
}

/** In characters; a head holds little more. */
export const MAX_TOKEN_CHARS = 16_384;
/** RFC 7518, RFC 8037, RFC 9864; never "none", never symmetric. */
const ALGORITHMS: ReadonlySet<string> = new Set(
  "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519".split(" "),
);

/** Takes a compact JWS with a JSON claims set apart (RFC 7515, RFC 7519) and refuses what no rule could take: an algorithm that is
 *  not asymmetric, `crit`, the same name twice in header or claims. Throws CountersignError E_JWT_…, whose message has nothing of the
 *  token in it. */
export function readUnverifiedJwt(token: string): UnverifiedJwt {
  if (token.length > MAX_TOKEN_CHARS) {
    throw new CountersignError("E_JWT_TOO_LONG", `the token is longer than ${MAX_TOKEN_CHARS} characters`);
  }
  const parts = token.split(".");
  if (parts.length !== 3) throw new CountersignError("E_JWT_MALFORMED", "the token has not exactly three parts");
  let header: Readonly<Record<string, unknown>>;
  let issuer: unknown;
  try {
    header = decodeProtectedHeader(token);
    issuer = decodeJwt(token).iss;
  } catch {
    throw new CountersignError("E_JWT_MALFORMED", "the token is no compact JWS with a JSON claims set");
  }
  refuseDuplicates(parts[0] ?? "", "header");
  refuseDuplicates(parts[1] ?? "", "claims set");
  const { alg, kid, crit } = header;
  if (crit !== undefined) throw new CountersignError("E_JWT_CRITICAL", "the token's header has crit");
  if (typeof alg !== "string" || !ALGORITHMS.has(alg)) {
    throw new CountersignError("E_JWT_ALGORITHM", "the token's alg is not an asymmetric signature algorithm");
  }
  if (kid !== undefined && typeof kid !== "string") {
    throw new CountersignError("E_JWT_MALFORMED", "the token's kid is no text");
  }
  if (issuer !== undefined && typeof issuer !== "string") {
    throw new CountersignError("E_JWT_CLAIMS", "the token's iss is no text");
  }
  return { token, algorithm: alg, kid: kid === "" ? undefined : kid, issuer: issuer ?? "" };
}

/** Of a name that comes twice some readers keep the first value and some the last: issuer, app and we must read the same. */
function refuseDuplicates(part: string, what: string): void {
  try {
    checkStrictJson(Buffer.from(part, "base64url").toString("utf8"));
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new CountersignError("E_JWT_MALFORMED", `the token's ${what} is no JSON object with each name once`);
  }
}
