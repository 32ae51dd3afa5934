import { createHash, type X509Certificate } from "node:crypto";
import type { Peer, PeerVerdict, TrustBundle } from "../core/identity.ts";
import type { TrustDomain } from "../core/spiffe-id.ts";
import { judgeChain, type ProvenChain } from "./judge-chain.ts";

/** Longest text of the peer's choosing that goes into a verdict. */
const MAX_TEXT = 256;

/** Verifies a peer's presented chain, leaf first, as readPeerChain collects it, by every rule of the X.509-SVID standard
 *  and by the bundle of the leaf's own trust domain alone. Synchronous: it runs in the TLS `secure` event, before a byte
 *  is read or written. Never throws for what a peer sends. For open connections call it again with each new snapshot:
 *  bundles, CRLs and the clock may have turned against them. */
export function verifyPeerChain(
  chain: readonly X509Certificate[],
  bundles: ReadonlyMap<TrustDomain, TrustBundle>,
  nowMs: number,
): PeerVerdict {
  return judgePeer(chain, bundles, nowMs).verdict;
}

/** verifyPeerChain, and when the proof begins to hold, for the cache. */
export function judgePeer(
  chain: readonly X509Certificate[],
  bundles: ReadonlyMap<TrustDomain, TrustBundle>,
  nowMs: number,
): { readonly verdict: PeerVerdict; readonly proven: ProvenChain | undefined } {
  const { problems, claimed, proven } = judgeChain(
    chain.map((certificate) => ({ der: certificate.raw, certificate })),
    bundles,
    nowMs,
  );
  const [leaf] = chain;
  if (proven === undefined || leaf === undefined) {
    const [first = { code: "E_PEER_NO_CERTIFICATE" as const, reason: "no certificate was presented" }] = problems;
    return { verdict: { kind: "refused", ...first, claimed: claimed && asciiLine(claimed) }, proven: undefined };
  }
  return { verdict: { kind: "verified", peer: peerOf(leaf, proven) }, proven };
}

function peerOf(leaf: X509Certificate, proven: ProvenChain): Peer {
  return {
    spiffeId: proven.spiffeId,
    trustDomain: proven.trustDomain,
    serial: proven.serial,
    issuer: asciiLine(leaf.issuer.replaceAll("\n", ", ")),
    notAfterMs: proven.notAfterMs,
    validUntilMs: proven.validUntilMs,
    fingerprint: createHash("sha256").update(leaf.raw).digest("hex"),
  };
}

/** A text of the peer's choosing on one line of bounded length. */
function asciiLine(text: string): string {
  return text.slice(0, MAX_TEXT).replace(/[^\x20-\x7e]/g, "?");
}
