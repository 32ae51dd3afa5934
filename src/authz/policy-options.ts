import type { TrustDomain } from "../core/spiffe-id.ts";

/** How a request's path is normalised before policy and the app see it (Istio's MeshConfig.pathNormalization). */
export type PathNormalization = "NONE" | "BASE" | "MERGE_SLASHES" | "DECODE_AND_MERGE_SLASHES";

/** `istio`: bit-exact Istio meaning. `strict`: the same language with its known holes closed. */
export type PolicyMode = "strict" | "istio";

/** An inbound listener, as far as policies depend on it. */
export interface PolicyListener {
  readonly name: string;
  /** What `ports` compares; 0 for a Unix-socket app without a port. */
  readonly appPort: number;
  readonly protocol: "auto" | "http" | "tcp";
  /** What the configuration says; "strict" when absent. */
  readonly mtls?: "strict" | "permissive" | "disable";
}

/** Everything besides the documents that decides what they mean. A change of any of it needs a new compilation. */
export interface PolicyOptions {
  readonly mode: PolicyMode;
  /** What happens to a call when no ALLOW policy applies to this workload. */
  readonly default: "deny" | "allow";
  readonly pathNormalization: PathNormalization;
  /** Policies of this namespace apply to every workload. */
  readonly rootNamespace: string;
  readonly workload: { readonly namespace: string; readonly labels: ReadonlyMap<string, string> };
  /** Known once identity has arrived. Until then nothing counts as local, so restricted matches fail closed. */
  readonly localTrustDomain: TrustDomain | undefined;
  readonly trustDomainAliases: readonly TrustDomain[];
  readonly listeners: readonly PolicyListener[];
  /** Ports to which tunnels of the workload's egress proxy lead. Absent: it has none. */
  readonly tunnelPorts?: readonly number[];
  /** Providers of external authorization by name, with the protocol they speak. Absent: any name is taken for a gRPC provider. */
  readonly providers?: ReadonlyMap<string, "http" | "grpc">;
}
