import type { PeerVerifier } from "../../certs/peer-verifier.ts";
import type { Address, ExpectedIdentity } from "../../config/sidecar-config.ts";
import type { CountersignError } from "../../core/errors.ts";
import type { IdentitySnapshot, Svid } from "../../core/identity.ts";
import type { Deadlines } from "../deadlines.ts";
import type { Http2Options } from "../http2/http2-limits.ts";
import type { EndpointLoad, UpstreamCounts } from "./endpoint-load.ts";

/** Who we are on a connection that is made now. */
export interface OurIdentity {
  readonly svid: Svid;
  readonly snapshot: IdentitySnapshot;
}

/** What a plaintext upstream speaks: one version always, or the one that the call asks for. A mesh peer says by ALPN. */
export type PlaintextVersion = "http1" | "http2" | "asked";

export interface PoolOptions {
  readonly endpoint: Address;
  readonly source: string | undefined;
  /** Of DialOptions. */
  readonly serverName?: string | undefined;
  readonly load: EndpointLoad;
  /** Shared by all pools of an upstream. */
  readonly counts: UpstreamCounts;
  /** Who we are and who the server must be, and the ALPN names to offer; undefined: plaintext, toward our own app. */
  readonly mesh: { readonly expected: readonly ExpectedIdentity[]; readonly alpn: readonly string[] } | undefined;
  readonly plaintext: PlaintextVersion;
  /** Our SVID for new connections now, or why there is none. Asked only for a mesh pool. */
  readonly identity: () => OurIdentity | CountersignError;
  readonly limits: Http2Options;
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  /** How long an unused connection is kept. Shorter than the server's own patience, so that the server rarely closes first. */
  readonly idleMs: number;
  readonly deadlines: Deadlines;
  readonly verifyPeer: PeerVerifier;
}

/** Of a pool's options what a reload may change while it is open. */
export type PoolTuning = Pick<
  PoolOptions,
  "limits" | "maxConnections" | "connectTimeoutMs" | "handshakeTimeoutMs" | "idleMs"
>;
