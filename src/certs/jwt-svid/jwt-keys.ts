import { createHash } from "node:crypto";
import { CountersignError } from "../../core/errors.ts";
import type { JwtAuthorityKey, JwtBundle } from "../../core/identity.ts";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import { importPublicJwk } from "../public-jwk.ts";
import { JsonError, parseStrictJson } from "../strict-json.ts";

/** Most keys of one bundle: far above what rotation needs, and bounded. */
const MAX_KEYS = 256;
const MAX_RSA_BITS = 4096;
const curves: ReadonlySet<unknown> = new Set(["P-256", "P-384", "P-521"]);

/** Reads the JWT authorities among the entries of a JWKS (SPIFFE JWT-SVID section 6.2, RFC 7517). Entries of another use, of
 *  an unknown type, without kid, or with a key that is too weak or broken are skipped: no token can name them. `use` may
 *  be absent where the whole document is for JWT-SVIDs (`isJwtOnly`): the Workload API's is, and SPIRE leaves `use` out
 *  there. Throws CountersignError E_BUNDLE_FORMAT when two keys share a kid. */
export function readJwtKeys(entries: readonly unknown[], what: string, isJwtOnly = false): readonly JwtAuthorityKey[] {
  const found = new Map<string, JwtAuthorityKey>();
  for (const entry of entries) {
    if (!isRecord(entry)) continue;
    const { use, kid } = entry;
    if (use !== "jwt-svid" && !(isJwtOnly && use === undefined)) continue;
    if (typeof kid !== "string" || kid === "") continue;
    const key = importPublicJwk(entry, MAX_RSA_BITS, curves);
    if (key === undefined) continue;
    const other = found.get(kid);
    if (other !== undefined && !other.key.equals(key))
      throw new CountersignError("E_BUNDLE_FORMAT", `${what} has two JWT keys with the same kid`);
    found.set(kid, { keyId: kid, key });
    if (found.size > MAX_KEYS)
      throw new CountersignError("E_BUNDLE_FORMAT", `${what} has more than ${MAX_KEYS} JWT keys`);
  }
  return [...found.values()];
}

/** A JWT bundle as the Workload API carries it (JWTBundlesResponse): a JWKS document. Throws CountersignError E_BUNDLE_FORMAT. */
export function parseJwtBundle(trustDomain: TrustDomain, text: string): JwtBundle {
  const what = `JWT bundle of ${trustDomain}`;
  let document: unknown;
  try {
    document = parseStrictJson(text);
  } catch (error) {
    if (error instanceof JsonError) throw new CountersignError("E_BUNDLE_FORMAT", `${what} ${error.message}`);
    throw error;
  }
  if (!isRecord(document) || !Array.isArray(document["keys"]))
    throw new CountersignError("E_BUNDLE_FORMAT", `${what} has no array "keys"`);
  return makeJwtBundle(trustDomain, readJwtKeys(document["keys"] as unknown[], what, true));
}

export function makeJwtBundle(trustDomain: TrustDomain, keys: readonly JwtAuthorityKey[]): JwtBundle {
  const version = createHash("sha256");
  for (const { keyId, key } of keys) {
    const spki = key.export({ type: "spki", format: "der" });
    version.update(`${keyId.length} ${keyId} ${spki.length}\n`).update(spki);
  }
  return { trustDomain, keys, version: version.digest("hex") };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
