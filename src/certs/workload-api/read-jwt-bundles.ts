import type { JwtBundle } from "../../core/identity.ts";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import { parseJwtBundle } from "../jwt-svid/jwt-keys.ts";
import { federatedDomain, malformed } from "./federated-domain.ts";
import type { JwtBundlesResponse } from "./proto.ts";

/** Reads a message of FetchJWTBundles: the whole state. Throws CountersignError with the reason why it is to be dropped. */
export function readJwtBundles({ bundles }: JwtBundlesResponse): ReadonlyMap<TrustDomain, JwtBundle> {
  const found = new Map<TrustDomain, JwtBundle>();
  for (const [name, document] of Object.entries(bundles)) {
    const trustDomain = federatedDomain(name);
    const text = Buffer.from(document.buffer, document.byteOffset, document.length).toString("utf8");
    const bundle = parseJwtBundle(trustDomain, text);
    const other = found.get(trustDomain);
    if (other !== undefined && other.version !== bundle.version)
      throw malformed(`has two JWT bundles for ${trustDomain}`);
    found.set(trustDomain, bundle);
  }
  return found;
}
