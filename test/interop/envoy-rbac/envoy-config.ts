import type { TestCa } from "../../support/cert-factory.ts";
import { envoyRules } from "./envoy-rules.ts";
import type { IstioPolicy } from "./istio-policies.ts";

const HTTP = "type.googleapis.com/envoy.extensions.filters.http.";
const NETWORK = "type.googleapis.com/envoy.extensions.filters.network.";
const TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const INSPECTOR = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
const ACTIONS = ["DENY", "ALLOW"] as const;

/** Everything that one Envoy serves. */
export interface Served {
  /** HTTP: one route for each, on each of the ports, chosen by `x-set: set-<number>`. */
  readonly http: readonly (readonly IstioPolicy[])[];
  readonly ports: readonly number[];
  /** TCP: a port for each. */
  readonly tcp: readonly { readonly port: number; readonly policies: readonly IstioPolicy[] }[];
  readonly issuers: readonly string[];
  readonly jwks: string;
  readonly ca: TestCa;
}

/** Envoy as Istio sets up a sidecar: RBAC of connections and of requests, tokens read before, and mutual TLS that is not demanded. */
export function envoyConfig(served: Served): object {
  const socket = transportSocket(served.ca);
  const http = served.ports.map((port) => listener(port, [httpManager(served)], socket));
  const tcp = served.tcp.map(({ port, policies }) => listener(port, tcpFilters(policies), socket));
  return { static_resources: { listeners: [...http, ...tcp] } };
}

function listener(port: number, filters: readonly object[], transport_socket: object): object {
  return {
    name: `listener-${port}`,
    address: { socket_address: { address: "127.0.0.1", port_value: port } },
    listener_filters: [{ name: "tls-inspector", typed_config: { "@type": INSPECTOR } }],
    filter_chains: [{ filters, transport_socket }],
  };
}

function transportSocket(ca: TestCa): object {
  const server = ca.issue({ spiffeId: "spiffe://example.org/envoy" });
  const inline = (text: string): object => ({ inline_string: text });
  const common_tls_context = {
    tls_certificates: [{ certificate_chain: inline(server.chainPem), private_key: inline(server.keyPem) }],
    validation_context: { trusted_ca: inline(ca.bundlePem) },
  };
  return { name: "tls", typed_config: { "@type": TLS, common_tls_context } };
}

function httpManager({ http, issuers, jwks }: Served): object {
  const routes = http.map((policies, i) => {
    const perRoute = ACTIONS.filter((action) => policies.some((policy) => policy.action === action)).map((action) => {
      const rbac = { rules: envoyRules(action, policies, "shop") };
      return [`rbac-${action.toLowerCase()}`, { "@type": `${HTTP}rbac.v3.RBACPerRoute`, rbac }];
    });
    return {
      match: { prefix: "/", headers: [{ name: "x-set", string_match: { exact: `set-${i}` } }] },
      direct_response: { status: 200 },
      typed_per_filter_config: Object.fromEntries(perRoute),
    };
  });
  const filter = (name: string, type: string, more: object = {}): object => ({
    name,
    typed_config: { "@type": `${HTTP}${type}`, ...more },
  });
  return {
    name: "http",
    typed_config: {
      "@type": `${NETWORK}http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: "rbac",
      use_remote_address: true,
      route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes }] },
      http_filters: [
        filter("envoy.filters.http.jwt_authn", "jwt_authn.v3.JwtAuthentication", tokens(issuers, jwks)),
        filter("rbac-deny", "rbac.v3.RBAC"),
        filter("rbac-allow", "rbac.v3.RBAC"),
        filter("router", "router.v3.Router"),
      ],
    },
  };
}

function tokens(issuers: readonly string[], jwks: string): object {
  const providers = issuers.map((issuer, i) => [
    `issuer-${i}`,
    {
      issuer,
      local_jwks: { inline_string: jwks },
      payload_in_metadata: "payload",
      normalize_payload_in_metadata: { space_delimited_claims: ["scope", "permission"] },
    },
  ]);
  const any = [...issuers.map((_, i) => ({ provider_name: `issuer-${i}` })), { allow_missing: {} }];
  return {
    providers: Object.fromEntries(providers),
    rules: [{ match: { prefix: "/" }, requires: { requires_any: { requirements: any } } }],
  };
}

function tcpFilters(policies: readonly IstioPolicy[]): readonly object[] {
  const rbac = ACTIONS.filter((action) => policies.some((policy) => policy.action === action)).map((action) => ({
    name: `rbac-${action.toLowerCase()}`,
    typed_config: {
      "@type": `${NETWORK}rbac.v3.RBAC`,
      stat_prefix: action.toLowerCase(),
      rules: envoyRules(action, policies, "shop", "tcp"),
    },
  }));
  return [...rbac, { name: "echo", typed_config: { "@type": `${NETWORK}echo.v3.Echo` } }];
}
