import type { PolicyListener, PolicyOptions } from "../authz/policy-options.ts";
import type { PolicyPart } from "../config/policy-part.ts";
import type { ForwardConfig, ProtocolSetting } from "../config/sidecar-config.ts";
import type { TrustDomain } from "../core/spiffe-id.ts";

/** What policies must know of the configuration. `localTrustDomain` is our own SVID's, undefined until there is one. */
export function policyOptionsOf(config: PolicyPart, localTrustDomain: TrustDomain | undefined): PolicyOptions {
  return {
    ...config.authorization,
    workload: config.workload,
    localTrustDomain,
    trustDomainAliases: config.trustDomainAliases,
    listeners: config.inbound.map(({ name, appPort, protocol, mtls }) => ({
      name,
      appPort,
      protocol: spoken(protocol),
      mtls,
    })),
    ...tunnelPorts(config.forward ?? []),
    ...(config.extensionProviders === undefined
      ? {}
      : { providers: new Map(config.extensionProviders.map(({ name, kind }) => [name, kind])) }),
  };
}

function tunnelPorts(proxies: readonly ForwardConfig[]): Pick<PolicyOptions, "tunnelPorts"> {
  if (proxies.length === 0) return {};
  const ports = proxies.flatMap(({ forward }) => [...forward.ports, ...forward.hosts.values().map(({ port }) => port)]);
  return { tunnelPorts: [...new Set(ports)].toSorted((a, b) => a - b) };
}

/** Policies only ask whether a port speaks HTTP, not which version. */
function spoken(protocol: ProtocolSetting): PolicyListener["protocol"] {
  return protocol === "http1" || protocol === "http2" ? "http" : protocol;
}
