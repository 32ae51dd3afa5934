import type { SourcePosition } from "../core/errors.ts";
import type { FederationPartner } from "../core/federation.ts";
import type { SpiffeId, TrustDomain } from "../core/spiffe-id.ts";

/** Where to listen or dial. Port 0 lets the system choose. */
export type Address =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

export type ProtocolSetting = "auto" | "http" | "http1" | "http2" | "tcp";
export type MtlsMode = "strict" | "permissive" | "disable";
export type XfccMode = "sanitize_set" | "append_forward" | "forward_only";

/** A JWT-SVID that inbound requests bring. */
export interface InboundJwtSvid {
  /** For one of whom it must be; empty: our own SPIFFE ID. */
  readonly audience: readonly string[];
  /** Lower-case name of the header that carries it; behind `Bearer` in authorization. */
  readonly header: string;
  readonly required: boolean;
  /** Whether it is believed from callers without a verified SVID. */
  readonly plaintext: boolean;
}

/** A JWT-SVID of ours that outbound requests carry. */
export interface OutboundJwtSvid {
  readonly audience: string;
  /** As in InboundJwtSvid. */
  readonly header: string;
}

export interface InboundConfig {
  readonly name: string;
  readonly listen: Address;
  readonly app: Address;
  /** What policy's `ports` compares: the app's port, or `port:` for a Unix-socket app, else 0. */
  readonly appPort: number;
  readonly protocol: ProtocolSetting;
  readonly mtls: MtlsMode;
  /** Which of our SVIDs; "" is the default one. */
  readonly svidHint: string;
  /** Local address to dial the app from, or undefined. */
  readonly appSource: string | undefined;
  readonly upstream: UpstreamConfig;
  readonly xfcc: XfccMode;
  /** Whether trusted proxies begin their connections with a PROXY header. */
  readonly proxyProtocol: boolean;
  /** Version of the PROXY header that the app gets before each TCP connection's bytes; undefined: none. */
  readonly sendProxyProtocol: "v1" | "v2" | undefined;
  /** Other inbounds that tunnels to this one may lead to, by name. */
  readonly tunnels: readonly string[];
  /** Lower-case Upgrade tokens that become tunnels. Default ["websocket"]. */
  readonly upgrades: readonly string[];
  readonly jwtSvid: InboundJwtSvid | undefined;
}

/** An expected identity: exact, or `*` as its whole last segment. */
export interface ExpectedIdentity {
  readonly pattern: string;
  readonly trustDomain: TrustDomain;
  /** Set when exact. */
  readonly exact: SpiffeId | undefined;
  /** Set when the last segment is a star: everything before the star, slash included. */
  readonly prefix: string | undefined;
}

export interface OutboundConfig {
  readonly name: string;
  readonly listen: Address;
  readonly to: readonly { readonly host: string; readonly port: number }[];
  readonly identity: readonly [ExpectedIdentity, ...ExpectedIdentity[]];
  readonly svidHint: string;
  /** The other sidecar's inbound that TCP connections are for; "": the one that listens at `to`. */
  readonly tunnel: string;
  /** Replaces Host toward the server, or undefined. */
  readonly authority: string | undefined;
  readonly upstream: UpstreamConfig;
  readonly protocol: ProtocolSetting;
  /** Origins of browser pages that may use the listener. */
  readonly origins: readonly string[];
  readonly browser: "refuse" | "allow";
  /** Local uids that may use it; undefined: any. */
  readonly allowUids: readonly number[] | undefined;
  readonly jwtSvid: OutboundJwtSvid | undefined;
}

/** A destination in the mesh that the egress proxy reaches by mTLS. */
export interface MeshHost {
  readonly host: string;
  readonly port: number;
  readonly identity: readonly [ExpectedIdentity, ...ExpectedIdentity[]];
}

/** What an egress proxy reaches. */
export interface ForwardRules {
  /** By meshHostKey. */
  readonly hosts: ReadonlyMap<string, MeshHost>;
  /** CIDRs that are open although the rules about addresses close them. */
  readonly addresses: readonly string[];
  /** Of tunnels to destinations outside the mesh. */
  readonly ports: readonly number[];
}

/** An outbound listener that is an egress proxy. */
export interface ForwardConfig {
  readonly name: string;
  readonly listen: Address;
  readonly forward: ForwardRules;
  /** Of all destinations together. */
  readonly upstream: UpstreamConfig;
  readonly svidHint: string;
  readonly origins: readonly string[];
  readonly browser: "refuse" | "allow";
  readonly allowUids: readonly number[] | undefined;
}

export type IdentityConfig =
  | {
      readonly kind: "workloadApi";
      readonly address: string;
      readonly hint: string;
      readonly revocationGraceMs: number;
    }
  | {
      readonly kind: "files";
      readonly svid: string;
      readonly key: string;
      readonly bundles: ReadonlyMap<TrustDomain, string>;
      /** Partners whose bundles come from their bundle endpoints. */
      readonly federatesWith: readonly FederationPartner[];
      /** Where partners' last good bundles are kept; undefined: nowhere. */
      readonly stateFolder: string | undefined;
    };

export interface FileSinkConfig {
  readonly kind: "file";
  readonly path: string;
  readonly rotate: { readonly sizeBytes: number; readonly ageMs: number; readonly keep: number };
  readonly fsync: "always" | "interval" | "never";
}
export interface StdoutSinkConfig {
  readonly kind: "stdout";
}

export interface AuditConfig {
  readonly sinks: readonly (FileSinkConfig | StdoutSinkConfig)[];
  readonly onFailure: "block" | "drop";
  /** Places in the calls' queue. Default 8192. */
  readonly queue: number;
  /** Places in the refusals' own queue. Default 100. */
  readonly refusalsQueue: number;
}

export interface LimitsConfig {
  readonly connections: number;
  readonly headBytes: number;
  readonly headFields: number;
  readonly requestLine: number;
  readonly streams: number;
  readonly streamBuffer: number;
  /** Octets resident; 0: no limit. */
  readonly memory: number;
  readonly http2: Http2LimitsConfig;
}

/** How often: a bucket of `burst` that leaks `perSecond`. */
export interface RateLimitConfig {
  readonly burst: number;
  readonly perSecond: number;
}

/** What a peer may do too often on one HTTP/2 connection. */
export interface Http2LimitsConfig {
  readonly resets: RateLimitConfig;
  readonly provokedResets: RateLimitConfig;
  readonly pings: RateLimitConfig;
  readonly settings: RateLimitConfig;
  readonly priorities: RateLimitConfig;
  readonly windowUpdates: RateLimitConfig;
  readonly emptyFrames: RateLimitConfig;
  /** Frames of one header block. */
  readonly continuations: number;
  /** Octets of HPACK's table that the peer fills. */
  readonly headerTable: number;
  /** `for` in milliseconds. */
  readonly stalledStreams: { readonly streams: number; readonly for: number };
}

/** A listener's upstream. Times in milliseconds, 0 is "none". */
export interface UpstreamConfig {
  /** undefined: as `limits.connections`. */
  readonly maxConnections: number | undefined;
  readonly maxPending: number;
  readonly maxRequests: number;
  /** undefined: as `timeouts.connect`. */
  readonly connectTimeout: number | undefined;
  /** undefined: from `timeouts.idle`. */
  readonly idleTimeout: number | undefined;
  readonly requestTimeout: number;
  readonly streamTimeout: number;
}

/** Policies at a URL. */
export interface PolicyUrlConfig {
  readonly url: string;
  /** PEM file of the Ed25519 key that signs them; undefined: https alone is believed. */
  readonly publicKey: string | undefined;
  /** Signed with the policies. */
  readonly name: string;
  /** PEM file of the authorities to trust; undefined: the system's. */
  readonly ca: string | undefined;
  readonly refreshMs: number;
  readonly maxAgeMs: number;
  /** Folder of the kept copy. */
  readonly cache: string;
  readonly at: SourcePosition;
}

/** Milliseconds; 0 is "none". */
export interface TimeoutsConfig {
  readonly handshake: number;
  readonly classify: number;
  readonly connect: number;
  readonly head: number;
  readonly firstByte: number;
  readonly idle: number;
  readonly tunnelIdle: number;
  readonly connectionAge: number;
}

export type PolicyModeSetting = "strict" | "istio";

export interface AuthorizationConfig {
  readonly mode: PolicyModeSetting;
  readonly default: "deny" | "allow";
  readonly pathNormalization: "NONE" | "BASE" | "MERGE_SLASHES" | "DECODE_AND_MERGE_SLASHES";
  readonly rootNamespace: string;
}

/** A header name in lower case; with a star at one end, the text that must stand at the other. */
export interface HeaderPattern {
  readonly kind: "exact" | "prefix" | "suffix";
  readonly text: string;
}

/** How much of a body a provider sees, and in which form. */
export interface BodyInCheckConfig {
  readonly maxBytes: number;
  /** The first `maxBytes` of a longer body; else that is refused. */
  readonly allowPartial: boolean;
  /** gRPC: as bytes, not as text. */
  readonly asBytes: boolean;
}

/** Who is asked about calls that CUSTOM policies name (Istio's MeshConfig.extensionProviders). */
export type ExtensionProviderConfig = {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
  /** Status of a call that is denied for want of a valid answer. */
  readonly statusOnError: number;
  /** What it gets of a request's body; undefined: nothing. */
  readonly body: BodyInCheckConfig | undefined;
  readonly at: SourcePosition;
} & (
  | { readonly kind: "grpc" }
  | {
      readonly kind: "http";
      /** "" or a path without a slash at its end. */
      readonly pathPrefix: string;
      readonly requestHeaders: readonly HeaderPattern[];
      readonly addedHeaders: readonly (readonly [name: string, value: string])[];
      readonly upstreamOnAllow: readonly HeaderPattern[];
      /** undefined: all. */
      readonly downstreamOnDeny: readonly HeaderPattern[] | undefined;
      readonly downstreamOnAllow: readonly HeaderPattern[];
    }
);

/** How the keys of RequestAuthentication documents are fetched. */
export interface RequestAuthenticationConfig {
  /** CIDRs that keys may be fetched from although they are private. */
  readonly addresses: readonly string[];
  /** Absolute path of a PEM file with the authorities to trust instead of the system's. */
  readonly ca: string | undefined;
}

/** countersign.yaml after validation, defaults, environment and path resolution. Immutable. */
export interface SidecarConfig {
  readonly file: string;
  readonly workload: { readonly namespace: string; readonly labels: ReadonlyMap<string, string> };
  readonly identity: IdentityConfig;
  readonly trustDomainAliases: readonly TrustDomain[];
  readonly inbound: readonly InboundConfig[];
  readonly outbound: readonly OutboundConfig[];
  readonly forward: readonly ForwardConfig[];
  /** Both of the above, in the order of the file. */
  readonly outboundAsWritten: readonly (OutboundConfig | ForwardConfig)[];
  /** Absolute paths of policy files or folders, with the place that names each. */
  readonly policies: readonly { readonly path: string; readonly at: SourcePosition }[];
  /** Policies at URLs: read after those of the paths. */
  readonly policyUrls: readonly PolicyUrlConfig[];
  readonly authorization: AuthorizationConfig;
  readonly trustedProxies: readonly string[];
  readonly extensionProviders: readonly ExtensionProviderConfig[];
  readonly requestAuthentication: RequestAuthenticationConfig;
  readonly audit: AuditConfig;
  readonly admin: Address | undefined;
  readonly health: Address | undefined;
  readonly metrics: Address | undefined;
  /** Threads that carry the traffic; 0: one a core. */
  readonly workers: number;
  readonly limits: LimitsConfig;
  readonly timeouts: TimeoutsConfig;
  readonly drainTimeoutMs: number;
  readonly logLevel: "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";
}
