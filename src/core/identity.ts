import type { KeyObject, X509Certificate } from "node:crypto";
import type { ErrorCode } from "./error-codes.ts";
import type { CountersignError } from "./errors.ts";
import type { SpiffeId, TrustDomain } from "./spiffe-id.ts";

/** One of our own X.509-SVIDs, verified before it became one of these. Immutable. */
export interface Svid {
  readonly spiffeId: SpiffeId;
  /** The Workload API's hint, "" if none. */
  readonly hint: string;
  /** Leaf first, then intermediates; never the root. */
  readonly chain: readonly X509Certificate[];
  /** The same chain as PEM text, ready for a TLS context. Not secret. */
  readonly chainPem: string;
  readonly key: KeyObject;
  /** Lower-case hex without leading zeros or colons. */
  readonly serial: string;
  /** SHA-256 of the leaf's DER, lower-case hex. Pool keys use it. */
  readonly fingerprint: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** One trust domain's X.509 authorities. `version` changes whenever the content does. */
export interface TrustBundle {
  readonly trustDomain: TrustDomain;
  readonly authorities: readonly X509Certificate[];
  /** DER CRLs as the Workload API hands them over. */
  readonly crls: readonly Uint8Array[];
  readonly version: string;
}

/** A public key with which one trust domain signs JWT-SVIDs. */
export interface JwtAuthorityKey {
  /** The `kid` by which tokens name it; never empty. */
  readonly keyId: string;
  readonly key: KeyObject;
}

/** One trust domain's JWT authorities. No key at all: every JWT-SVID of the domain is refused. */
export interface JwtBundle {
  readonly trustDomain: TrustDomain;
  readonly keys: readonly JwtAuthorityKey[];
  /** Changes whenever the keys do. */
  readonly version: string;
}

/** The whole identity state at one moment. Swapped whole, never edited. */
export interface IdentitySnapshot {
  /** Rises by one with each swap. */
  readonly generation: number;
  /** The first is the default. Never empty. */
  readonly svids: readonly [Svid, ...Svid[]];
  readonly bundles: ReadonlyMap<TrustDomain, TrustBundle>;
  /** By whose keys JWT-SVIDs are checked; absent: the source gives none. */
  readonly jwtBundles?: ReadonlyMap<TrustDomain, JwtBundle> | undefined;
}

/** One of our own JWT-SVIDs. */
export interface JwtSvid {
  readonly spiffeId: SpiffeId;
  /** Compact JWS. Secret: it goes into one header and nowhere else. */
  readonly token: string;
  readonly issuedAtMs: number;
  readonly expiresMs: number;
}

/** A bundle that is fetched from a partner's bundle endpoint, as status shows it. */
export interface FederatedBundleStatus {
  readonly trustDomain: TrustDomain;
  readonly url: string;
  /** When the bundle in use was fetched; undefined: never, only the bootstrap bundle is known. */
  readonly fetchedAtMs: number | undefined;
  /** Of the bundle in use. */
  readonly sequence: bigint | undefined;
  readonly nextFetchMs: number;
  /** Why the last fetch changed nothing. */
  readonly problem: CountersignError | undefined;
}

/** waiting: nothing yet; serving: fresh; stale: the source is failing and the last good snapshot stays;
 *  revoked: the source said that we have no identity any more; expired: the SVID ran out. */
export type IdentityState =
  | { readonly kind: "waiting"; readonly sinceMs: number; readonly problem: CountersignError | undefined }
  | { readonly kind: "serving"; readonly snapshot: IdentitySnapshot }
  | { readonly kind: "stale"; readonly snapshot: IdentitySnapshot; readonly problem: CountersignError }
  | { readonly kind: "revoked" | "expired"; readonly problem: CountersignError };

/** Where identity comes from. Never makes a handshake wait: `state` is always there. */
export interface IdentitySource {
  /** "workload-api unix:///run/spire/agent.sock", "files svid.pem": for people. */
  readonly description: string;
  readonly state: IdentityState;
  /** A source that is to take over as soon as it has an SVID, and what it says meanwhile. */
  readonly pending?: { readonly description: string; readonly problem: CountersignError | undefined } | undefined;
  /** Bundles that come from partners' bundle endpoints. */
  readonly federation?: readonly FederatedBundleStatus[] | undefined;
  /** Called after each change of `state`. Returns the unsubscribe function. */
  subscribe(listener: (state: IdentityState) => void): () => void;
  /** A JWT-SVID of ours for one audience. Rejects with CountersignError. Absent: the source gives none. `hint` "": the
   *  default one. */
  fetchJwtSvid?(audience: string, hint: string): Promise<JwtSvid>;
  close(): void;
}

/** A verified peer. Made only by verifyPeerChain (src/certs/verify-peer.ts). */
export interface Peer {
  readonly spiffeId: SpiffeId;
  readonly trustDomain: TrustDomain;
  /** Lower-case hex. */
  readonly serial: string;
  readonly issuer: string;
  readonly notAfterMs: number;
  /** Earliest notAfter of the whole presented chain: when the connection must end. */
  readonly validUntilMs: number;
  /** SHA-256 of the leaf's DER, lower-case hex (the Hash of x-forwarded-client-cert). */
  readonly fingerprint: string;
}

/** What peer verification says. `reason` is one line with the rule that was broken. */
export type PeerVerdict =
  | { readonly kind: "verified"; readonly peer: Peer }
  | {
      readonly kind: "refused";
      readonly code: ErrorCode;
      readonly reason: string;
      readonly claimed: string | undefined;
    };
