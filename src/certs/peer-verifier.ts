import { createHash, type X509Certificate } from "node:crypto";
import type { PeerVerdict, TrustBundle } from "../core/identity.ts";
import type { TrustDomain } from "../core/spiffe-id.ts";
import { judgePeer } from "./verify-peer.ts";

/** verifyPeerChain with memory. */
export type PeerVerifier = (
  chain: readonly X509Certificate[],
  bundles: ReadonlyMap<TrustDomain, TrustBundle>,
  nowMs: number,
) => PeerVerdict;

interface Proof {
  readonly verdict: PeerVerdict;
  readonly trustDomain: TrustDomain;
  /** The bundle's version covers its CRLs. */
  readonly bundleVersion: string;
  readonly validFromMs: number;
  readonly validUntilMs: number;
}

/** Remembers successes only, for the whole presented chain with the version of its own domain's bundle and CRLs, as long
 *  as every certificate of it is valid. At most `limit` chains; the one unused for longest makes room. */
export function createPeerVerifier(limit = 1024): PeerVerifier {
  const proofs = new Map<string, Proof>();
  return (chain, bundles, nowMs) => {
    const key = chainKey(chain);
    const known = proofs.get(key);
    if (known !== undefined) {
      proofs.delete(key);
      const isCurrent = bundles.get(known.trustDomain)?.version === known.bundleVersion;
      if (isCurrent && nowMs >= known.validFromMs && nowMs < known.validUntilMs) {
        proofs.set(key, known); // last in the order of eviction again
        return known.verdict;
      }
    }
    const { verdict, proven } = judgePeer(chain, bundles, nowMs);
    const bundle = proven && bundles.get(proven.trustDomain);
    if (proven !== undefined && bundle !== undefined) {
      const { trustDomain, validFromMs, validUntilMs } = proven;
      proofs.set(key, { verdict, trustDomain, bundleVersion: bundle.version, validFromMs, validUntilMs });
      const [oldest] = proofs.keys();
      if (proofs.size > limit && oldest !== undefined) proofs.delete(oldest);
    }
    return verdict;
  };
}

/** DER is self-delimiting, so a plain concatenation names one chain only. */
function chainKey(chain: readonly X509Certificate[]): string {
  const hash = createHash("sha256");
  for (const { raw } of chain) hash.update(raw);
  return hash.digest("base64");
}
