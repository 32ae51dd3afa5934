import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { isListening } from "../ports.ts";
import { waitUntilReady } from "../processes.ts";
import { type HopName, type Mesh, type Peer, versionOf } from "./peer.ts";

const onlyHttp1 = {
  http2: "haproxy speaks HTTP/2 on every hop there",
  tcp: "haproxy carries it",
};

/** HAProxy, one thread a hop. It cannot read URI SANs: the inbound checks the common name, the outbound the DNS name.
 *  Its log goes to standard output, which is a file. */
export const haproxy: Peer = haproxyPeer("haproxy", false);
/** The same, told to speak HTTP/2 between its two hops. */
export const haproxyMux: Peer = haproxyPeer("haproxy-mux", true);

function haproxyPeer(peerName: string, isMultiplexed: boolean): Peer {
  return {
    name: peerName,
    isMultiplexed,
    async find(children) {
      const text = await versionOf(children, "haproxy", ["-v"]);
      if (text === undefined) return { kind: "missing", hint: "apt-get install haproxy" };
      const version = /version (\S+)/.exec(text)?.[1] ?? text;
      return { kind: "found", version, ...(isMultiplexed ? { cannot: onlyHttp1 } : {}) };
    },
    async start(hop, mesh, children) {
      const config = join(mesh.dir, `${hop}.cfg`);
      writeFileSync(config, configuration(hop, mesh, isMultiplexed));
      const name = `${hop}.log`;
      const child = await children.start(`haproxy ${hop}`, "haproxy", ["-db", "-f", config], {
        stdout: { file: join(mesh.dir, name) },
      });
      await waitUntilReady(child, () => isListening(mesh.ports[hop]), 10_000);
      return { child, accessLog: { dir: mesh.dir, name } };
    },
  };
}

// The same facts as Countersign's record, as far as HAProxy has them: who, by which certificate, over which TLS, what, how it ended.
const httpLog =
  '{"time":"%t","client":"%ci:%cp","peer":"%[ssl_c_s_dn(cn)]","serial":"%[ssl_c_serial,hex]","issuer":"%[ssl_c_i_dn(cn)]","not_after":"%[ssl_c_notafter]","local":"%fi:%fp","server":"%si:%sp","tls":"%sslv","cipher":"%sslc","upstream_tls":"%[ssl_bc_protocol]","upstream_cipher":"%[ssl_bc_cipher]","protocol":"%HV","method":"%HM","authority":"%[var(txn.host)]","path":"%HP","status":%ST,"in":%U,"out":%B,"ms":%Ta,"upstream_ms":%Tr,"retries":"%rc","state":"%tsc","request_id":"%ID"}';
const tcpLog =
  '{"time":"%t","client":"%ci:%cp","peer":"%[ssl_c_s_dn(cn)]","server":"%si:%sp","in":%U,"out":%B,"ms":%Tt,"state":"%ts"}';

/** The request id is made and passed on, as the other peers and Countersign do. */
const requestFacts = `  unique-id-format %{+X}o%pid%rt%Ts%fp%cp
  unique-id-header x-request-id
  http-request set-var(txn.host) req.hdr(host)`;

function configuration(hop: HopName, mesh: Mesh, isMultiplexed: boolean): string {
  return `global
  nbthread 1
  maxconn 4096
  log stdout len 4096 format raw local0
  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  log global
  option http-keep-alive
  http-reuse always
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
${(hop === "outbound" ? outbound : inbound)(mesh, isMultiplexed)}`;
}

function mode({ wire }: Mesh): string {
  return wire === "tcp" ? "mode tcp" : "mode http";
}

/** HTTP/2 without TLS, toward apps that speak it. */
function appProtocol({ wire }: Mesh): string {
  return wire === "http2" ? " proto h2" : "";
}

function meshAlpn({ wire }: Mesh, isMultiplexed: boolean): string {
  return wire === "http2" || isMultiplexed ? " alpn h2" : "";
}

function logFormat({ wire }: Mesh): string {
  return wire === "tcp" ? `  log-format ${quoted(tcpLog)}` : `  log-format ${quoted(httpLog)}\n${requestFacts}`;
}

function outbound(mesh: Mesh, isMultiplexed: boolean): string {
  const { web, orders } = mesh.identities;
  const tls = `ssl crt ${web.files.combined} ca-file ${web.files.bundle} verify required verifyhost ${orders.dnsName} sni str(${orders.dnsName})`;
  return `frontend app
  ${mode(mesh)}
  bind 127.0.0.1:${mesh.ports.outbound}${appProtocol(mesh)}
${logFormat(mesh)}
  default_backend next
backend next
  ${mode(mesh)}
  server inbound 127.0.0.1:${mesh.ports.inbound} ${tls}${meshAlpn(mesh, isMultiplexed)}
`;
}

function inbound(mesh: Mesh, isMultiplexed: boolean): string {
  const { web, orders } = mesh.identities;
  const tls = `ssl crt ${orders.files.combined} ca-file ${orders.files.bundle} verify required`;
  const check =
    mesh.wire === "tcp"
      ? "  tcp-request content reject unless caller"
      : `  http-request deny unless caller { method GET POST }
  http-request set-header x-forwarded-client-cert "Subject=%[ssl_c_s_dn(cn)]"`;
  return `frontend mesh
  ${mode(mesh)}
  bind 127.0.0.1:${mesh.ports.inbound} ${tls}${meshAlpn(mesh, isMultiplexed)}
${logFormat(mesh)}
  acl caller ssl_c_s_dn(cn) -m str ${web.dnsName}
${check}
  default_backend app
backend app
  ${mode(mesh)}
  server app 127.0.0.1:${mesh.ports.app}${appProtocol(mesh)}
`;
}

function quoted(text: string): string {
  return `'${text}'`;
}
