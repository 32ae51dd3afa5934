import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { isListening } from "../ports.ts";
import { waitUntilReady } from "../processes.ts";
import { type HopName, type Mesh, type Peer, versionOf } from "./peer.ts";

/** HAProxy, one thread a hop. It cannot read URI SANs: the inbound checks the common name, the outbound the DNS name.
 *  Its log goes to standard output, which is a file. */
export const haproxy: Peer = {
  name: "haproxy",
  async find(children) {
    const text = await versionOf(children, "haproxy", ["-v"]);
    if (text === undefined) return { kind: "missing", hint: "apt-get install haproxy" };
    return { kind: "found", version: /version (\S+)/.exec(text)?.[1] ?? text, tcp: true };
  },
  async start(hop, mesh, children) {
    const config = join(mesh.dir, `${hop}.cfg`);
    writeFileSync(config, configuration(hop, mesh));
    const name = `${hop}.log`;
    const child = await children.start(`haproxy ${hop}`, "haproxy", ["-db", "-f", config], {
      stdout: { file: join(mesh.dir, name) },
    });
    const { ports } = mesh;
    await waitUntilReady(child, () => isListening(hop === "inbound" ? ports.inboundHttp : ports.outboundHttp), 10_000);
    return { child, accessLog: { dir: mesh.dir, name } };
  },
};

// The same facts as Countersign's record, as far as HAProxy has them: who, by which certificate, over which TLS, what, how it ended.
const httpLog =
  '{"time":"%t","client":"%ci:%cp","peer":"%[ssl_c_s_dn(cn)]","serial":"%[ssl_c_serial,hex]","issuer":"%[ssl_c_i_dn(cn)]","not_after":"%[ssl_c_notafter]","local":"%fi:%fp","server":"%si:%sp","tls":"%sslv","cipher":"%sslc","upstream_tls":"%[ssl_bc_protocol]","upstream_cipher":"%[ssl_bc_cipher]","protocol":"%HV","method":"%HM","authority":"%[var(txn.host)]","path":"%HP","status":%ST,"in":%U,"out":%B,"ms":%Ta,"upstream_ms":%Tr,"retries":"%rc","state":"%tsc","request_id":"%ID"}';
const tcpLog =
  '{"time":"%t","client":"%ci:%cp","peer":"%[ssl_c_s_dn(cn)]","server":"%si:%sp","in":%U,"out":%B,"ms":%Tt,"state":"%ts"}';

/** The request id is made and passed on, as the other peers and Countersign do. */
const requestFacts = `  unique-id-format %{+X}o%pid%rt%Ts%fp%cp
  unique-id-header x-request-id
  http-request set-var(txn.host) req.hdr(host)`;

function configuration(hop: HopName, mesh: Mesh): string {
  const body = hop === "outbound" ? outbound(mesh) : inbound(mesh);
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
${body}`;
}

function outbound({ identities: { web, orders }, ports, tcp }: Mesh): string {
  const tls = `ssl crt ${web.files.combined} ca-file ${web.files.bundle} verify required verifyhost ${orders.dnsName} sni str(${orders.dnsName})`;
  const http = `frontend http
  mode http
  bind 127.0.0.1:${ports.outboundHttp}
  log-format ${quoted(httpLog)}
${requestFacts}
  default_backend http
backend http
  mode http
  server inbound 127.0.0.1:${ports.inboundHttp} ${tls}
`;
  if (!tcp) return http;
  return `${http}frontend tcp
  mode tcp
  bind 127.0.0.1:${ports.outboundTcp}
  log-format ${quoted(tcpLog)}
  default_backend tcp
backend tcp
  mode tcp
  server inbound 127.0.0.1:${ports.inboundTcp} ${tls}
`;
}

function inbound({ identities: { web, orders }, ports, tcp }: Mesh): string {
  const tls = `ssl crt ${orders.files.combined} ca-file ${orders.files.bundle} verify required`;
  const caller = `acl caller ssl_c_s_dn(cn) -m str ${web.dnsName}`;
  const http = `frontend http
  mode http
  bind 127.0.0.1:${ports.inboundHttp} ${tls}
  log-format ${quoted(httpLog)}
${requestFacts}
  ${caller}
  http-request deny unless caller { method GET POST }
  http-request set-header x-forwarded-client-cert "Subject=%[ssl_c_s_dn(cn)]"
  default_backend http
backend http
  mode http
  server app 127.0.0.1:${ports.appHttp}
`;
  if (!tcp) return http;
  return `${http}frontend tcp
  mode tcp
  bind 127.0.0.1:${ports.inboundTcp} ${tls}
  log-format ${quoted(tcpLog)}
  ${caller}
  tcp-request content reject unless caller
  default_backend tcp
backend tcp
  mode tcp
  server app 127.0.0.1:${ports.appTcp}
`;
}

function quoted(text: string): string {
  return `'${text}'`;
}
