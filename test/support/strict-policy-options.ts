import type { PolicyOptions } from "../../src/authz/policy-options.ts";

/** Options of a workload in namespace `shop` of an unknown trust domain, strict and without listeners, but for what is `changed`. */
export function strictPolicyOptions(changed: Partial<PolicyOptions> = {}): PolicyOptions {
  return {
    mode: "strict",
    default: "deny",
    pathNormalization: "MERGE_SLASHES",
    rootNamespace: "istio-system",
    workload: { namespace: "shop", labels: new Map() },
    localTrustDomain: undefined,
    trustDomainAliases: [],
    listeners: [],
    ...changed,
  };
}
