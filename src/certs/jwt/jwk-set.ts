import type { KeyObject } from "node:crypto";
import { CountersignError } from "../../core/errors.ts";
import { importPublicJwk } from "../public-jwk.ts";
import { JsonError, parseStrictJson } from "../strict-json.ts";

/** A public key that may verify tokens. */
export interface JwtKey {
  /** undefined: the set doesn't name it, so it is tried for every token that its algorithms fit. */
  readonly kid: string | undefined;
  /** JWS algorithms (RFC 7518, RFC 8037) that the key may verify; never empty, never symmetric. */
  readonly algorithms: readonly string[];
  readonly key: KeyObject;
}

export interface JwtKeySet {
  /** Never empty. */
  readonly keys: readonly JwtKey[];
  /** Members that verify nothing: for encryption, symmetric, private, of an unknown kind or too weak. */
  readonly skipped: number;
}

/** Every key costs some forty microseconds to import; a set is imported at once. */
const MAX_KEYS = 256;
/** Verification gets slower with the square of the length. */
const MAX_RSA_BITS = 8192;
const RSA_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
const EC_ALGORITHMS: Readonly<Record<string, string>> = { "P-256": "ES256", "P-384": "ES384", "P-521": "ES512" };
const ED25519_ALGORITHMS = ["EdDSA", "Ed25519"];
const CURVES: ReadonlySet<unknown> = new Set([...Object.keys(EC_ALGORITHMS), "Ed25519"]);

/** Reads a JWK set (RFC 7517 section 5). What cannot verify a signature is skipped, as the standard asks for unknown kinds; a
 *  symmetric key is never taken, so that no published text can make tokens. Throws CountersignError E_JWKS_CONTENT or
 *  E_JWKS_TOO_LARGE. */
export function parseJwkSet(text: string): JwtKeySet {
  let document: unknown;
  try {
    document = parseStrictJson(text);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new CountersignError("E_JWKS_CONTENT", `the key set ${error.message}`);
  }
  const members = isRecord(document) ? document["keys"] : undefined;
  if (!Array.isArray(members)) throw new CountersignError("E_JWKS_CONTENT", "the key set has no list `keys`");
  if (members.length > MAX_KEYS) {
    throw new CountersignError("E_JWKS_TOO_LARGE", `the key set has ${members.length} keys, more than ${MAX_KEYS}`);
  }
  const keys = members.map(readKey).filter((key) => key !== undefined);
  if (keys.length === 0) {
    throw new CountersignError(
      "E_JWKS_CONTENT",
      "the key set has no RSA, EC or Ed25519 key that may verify signatures",
    );
  }
  return { keys, skipped: members.length - keys.length };
}

function readKey(member: unknown): JwtKey | undefined {
  if (!isRecord(member)) return undefined;
  const { kid, alg, use, key_ops: operations, d } = member;
  // a private key that is published belongs to everybody
  if (d !== undefined) return undefined;
  if (use !== undefined && use !== "sig") return undefined;
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes("verify"))) return undefined;
  if (kid !== undefined && typeof kid !== "string") return undefined;
  if (alg !== undefined && typeof alg !== "string") return undefined;
  const key = importPublicJwk(member, MAX_RSA_BITS, CURVES);
  if (key === undefined) return undefined;
  const fitting = algorithmsOf(key, member["crv"]);
  const algorithms = alg === undefined ? fitting : fitting.filter((one) => one === alg);
  return algorithms.length === 0 ? undefined : { kid: kid === "" ? undefined : kid, algorithms, key };
}

/** The JWS algorithms that a key fits. `curve`: the JWK's `crv`. */
function algorithmsOf({ asymmetricKeyType: kind }: KeyObject, curve: unknown): readonly string[] {
  if (kind === "rsa") return RSA_ALGORITHMS;
  if (kind === "ec") {
    const algorithm = typeof curve === "string" ? EC_ALGORITHMS[curve] : undefined;
    return algorithm === undefined ? [] : [algorithm];
  }
  return kind === "ed25519" ? ED25519_ALGORITHMS : [];
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
