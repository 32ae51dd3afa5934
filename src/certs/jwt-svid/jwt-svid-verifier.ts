import { createHash } from "node:crypto";
import type { JwtBundle } from "../../core/identity.ts";
import { type TrustDomain, trustDomainOf } from "../../core/spiffe-id.ts";
import { type JwtSvidVerdict, type ProvenJwtSvid, verifyJwtSvid } from "./verify-jwt-svid.ts";

/** verifyJwtSvid with memory. */
export type JwtSvidVerifier = typeof verifyJwtSvid;

/** Remembers successes only, by token and audiences with the version of the bundle that proved them, until the token
 *  expires. At most `limit` tokens; the one unused for longest makes room. Tokens themselves are not kept. */
export function createJwtSvidVerifier(limit = 1024): JwtSvidVerifier {
  const proofs = new Map<string, ProvenJwtSvid>();
  return (token, audiences, bundles, nowMs): JwtSvidVerdict => {
    const key = keyOf(token, audiences);
    const known = proofs.get(key);
    if (known !== undefined) {
      proofs.delete(key);
      if (nowMs < known.expiresMs && isCurrent(known, bundles)) {
        proofs.set(key, known); // last in the order of eviction again
        return known;
      }
    }
    const verdict = verifyJwtSvid(token, audiences, bundles, nowMs);
    if (verdict.kind === "refused") return verdict;
    proofs.set(key, verdict);
    const [oldest] = proofs.keys();
    if (proofs.size > limit && oldest !== undefined) proofs.delete(oldest);
    return verdict;
  };
}

function isCurrent({ spiffeId, bundleVersion }: ProvenJwtSvid, bundles: ReadonlyMap<TrustDomain, JwtBundle>): boolean {
  return bundles.get(trustDomainOf(spiffeId))?.version === bundleVersion;
}

/** Lengths part what would else run together. */
function keyOf(token: string, audiences: readonly string[]): string {
  const hash = createHash("sha256").update(token);
  for (const audience of audiences) hash.update(`\n${audience.length} ${audience}`);
  return hash.digest("base64");
}
