import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isListening } from "../ports.ts";
import { waitUntilReady } from "../processes.ts";
import { type HopName, type Mesh, type Peer, versionOf } from "./peer.ts";

const streamModule = "/usr/lib/nginx/modules/ngx_stream_module.so";

/** nginx, one worker a hop. It cannot read URI SANs: the inbound checks the common name, the outbound the DNS name.
 *  Bodies are kept in memory, never in temporary files, and request bodies are streamed. */
export const nginx: Peer = {
  name: "nginx",
  isMultiplexed: false,
  async find(children) {
    const text = await versionOf(children, "nginx", ["-v"]);
    if (text === undefined) return { kind: "missing", hint: "apt-get install nginx-light" };
    const noStream = existsSync(streamModule) ? {} : { tcp: "apt-get install libnginx-mod-stream" };
    return {
      kind: "found",
      version: /nginx\/(\S+)/.exec(text)?.[1] ?? text,
      cannot: { http2: "it speaks HTTP/1.1 to upstreams", ...noStream },
    };
  },
  async start(hop, mesh, children) {
    const config = join(mesh.dir, `${hop}.conf`);
    writeFileSync(config, configuration(hop, mesh));
    const args = ["-p", mesh.dir, "-e", "stderr", "-c", config];
    const child = await children.start(`nginx ${hop}`, "nginx", args);
    await waitUntilReady(child, () => isListening(mesh.ports[hop]), 10_000);
    return { child, accessLog: { dir: mesh.dir, name: `${hop}.log` } };
  },
};

const httpLog =
  '{"time":"$time_iso8601","client":"$remote_addr:$remote_port","peer":"$ssl_client_s_dn","serial":"$ssl_client_serial","issuer":"$ssl_client_i_dn","not_after":"$ssl_client_v_end","local":"$server_addr:$server_port","server":"$upstream_addr","tls":"$ssl_protocol","cipher":"$ssl_cipher","protocol":"$server_protocol","request_id":"$request_id","method":"$request_method","authority":"$http_host","path":"$uri","status":$status,"in":$request_length,"out":$bytes_sent,"seconds":$request_time,"upstream":"$upstream_response_time"}';
const tcpLog =
  '{"time":"$time_iso8601","client":"$remote_addr:$remote_port","peer":"$ssl_client_s_dn","server":"$upstream_addr","status":$status,"in":$bytes_received,"out":$bytes_sent,"seconds":$session_time}';

function configuration(hop: HopName, mesh: Mesh): string {
  const isTcp = mesh.wire === "tcp";
  return `${isTcp ? `load_module ${streamModule};\n` : ""}${process.getuid?.() === 0 ? "user root;\n" : ""}daemon off;
worker_processes 1;
pid ${join(mesh.dir, `${hop}.pid`)};
error_log stderr error;
events { worker_connections 4096; }
${isTcp ? stream(hop, mesh) : http(hop, mesh)}`;
}

function http(hop: HopName, mesh: Mesh): string {
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((kind) => `  ${kind}_temp_path ${join(mesh.dir, `${hop}-${kind}`)};`)
    .join("\n");
  return `http {
${temp}
  log_format json escape=json '${httpLog}';
  access_log ${join(mesh.dir, `${hop}.log`)} json buffer=64k flush=1s;
  map $http_upgrade $connection_upgrade { default ""; websocket upgrade; }
  keepalive_timeout 60s;
  keepalive_requests 100000000;
  proxy_http_version 1.1;
  proxy_set_header Host $http_host;
  proxy_set_header x-request-id $request_id;
  ${upgradeHeaders}
  proxy_request_buffering off;
  proxy_buffers 32 8k;
  proxy_max_temp_file_size 0;
${hop === "outbound" ? outboundHttp(mesh) : inboundHttp(mesh)}}
`;
}

/** An empty value removes the header: connections to upstreams are kept but for WebSocket. */
const upgradeHeaders = "proxy_set_header Connection $connection_upgrade; proxy_set_header Upgrade $http_upgrade;";

function upstream(port: number): string {
  return `  upstream next { server 127.0.0.1:${port}; keepalive 256; keepalive_requests 100000000; }`;
}

function originateTls({ identities: { web, orders } }: Mesh): string {
  return `proxy_ssl_certificate ${web.files.svid};
    proxy_ssl_certificate_key ${web.files.key};
    proxy_ssl_trusted_certificate ${web.files.bundle};
    proxy_ssl_verify on;
    proxy_ssl_name ${orders.dnsName};
    proxy_ssl_server_name on;
    proxy_ssl_protocols TLSv1.3;`;
}

function terminateTls({ identities: { orders } }: Mesh): string {
  return `ssl_certificate ${orders.files.svid};
    ssl_certificate_key ${orders.files.key};
    ssl_client_certificate ${orders.files.bundle};
    ssl_verify_client on;
    ssl_protocols TLSv1.3;
    ssl_session_tickets off;`;
}

function callerPattern({ identities: { web } }: Mesh): string {
  return `"~(^|,)CN=${web.dnsName.replaceAll(".", "\\.")}(,|$)"`;
}

function outboundHttp(mesh: Mesh): string {
  return `${upstream(mesh.ports.inbound)}
  server {
    listen 127.0.0.1:${mesh.ports.outbound};
    ${originateTls(mesh)}
    location / { proxy_pass https://next; }
  }
`;
}

function inboundHttp(mesh: Mesh): string {
  return `${upstream(mesh.ports.app)}
  map $ssl_client_s_dn $caller { default 0; ${callerPattern(mesh)} 1; }
  server {
    listen 127.0.0.1:${mesh.ports.inbound} ssl;
    ${terminateTls(mesh)}
    location / {
      if ($caller = 0) { return 403; }
      limit_except GET POST { deny all; }
      ${upgradeHeaders}
      proxy_set_header Host $http_host;
      proxy_set_header x-request-id $request_id;
      proxy_set_header x-forwarded-client-cert "Subject=\\"$ssl_client_s_dn\\"";
      proxy_pass http://next;
    }
  }
`;
}

function stream(hop: HopName, mesh: Mesh): string {
  const server =
    hop === "outbound"
      ? `  server {
    listen 127.0.0.1:${mesh.ports.outbound};
    proxy_ssl on;
    ${originateTls(mesh)}
    proxy_pass 127.0.0.1:${mesh.ports.inbound};
  }`
      : `  map $ssl_client_s_dn $target { default denied; ${callerPattern(mesh)} app; }
  upstream app { server 127.0.0.1:${mesh.ports.app}; }
  upstream denied { server unix:${join(mesh.dir, "denied.sock")}; }
  server {
    listen 127.0.0.1:${mesh.ports.inbound} ssl;
    ${terminateTls(mesh)}
    proxy_pass $target;
  }`;
  return `stream {
  log_format json escape=json '${tcpLog}';
  access_log ${join(mesh.dir, `${hop}.log`)} json buffer=64k flush=1s;
${server}
}
`;
}
