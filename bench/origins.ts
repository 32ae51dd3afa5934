// The app behind every peer: a process of its own whose CPU time is not counted, and cheap, so that the proxies set the pace.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isListening } from "./ports.ts";
import { type Child, type Children, waitUntilReady } from "./processes.ts";
import type { Tools } from "./tools.ts";
import type { Workload } from "./workloads.ts";

/** Path of the call that `grpc` loads make. The ending makes nghttpd say `content-type: application/grpc`. */
export const grpcPath = "/bench.Echo/unary.grpc";
/** A gRPC message of five bytes, in both directions. */
export const grpcMessage = Buffer.from("\0\0\0\0\u0005hello", "latin1");

const small = "x".repeat(128);
const large = "x".repeat(64 * 1024);

/** Starts what the workload needs on 127.0.0.1:`port`. */
export async function startOrigin(
  children: Children,
  workload: Workload,
  tools: Tools,
  dir: string,
  port: number,
): Promise<void> {
  const folder = join(dir, "origin");
  mkdirSync(folder);
  const child = await start(children, workload, tools, folder, port);
  await waitUntilReady(child, () => isListening(port), 10_000);
}

function start(children: Children, { load, wire }: Workload, tools: Tools, dir: string, port: number): Promise<Child> {
  switch (load.kind) {
    case "wrk":
      // nginx would answer before it has read a body
      return tools.nginx && load.requestBytes === 0
        ? startNginx(children, dir, port)
        : startNode(children, "http-origin.ts", port);
    case "h2load":
      if (wire === "http2") return startNghttpd(children, dir, port, load.grpc);
      return tools.nginx ? startNginx(children, dir, port) : startNode(children, "http-origin.ts", port);
    case "grpc-stream":
      if (tools.grpcBench === undefined) throw new TypeError("the gRPC program was not built");
      return children.start("origin", tools.grpcBench, ["serve", String(port)]);
    case "websocket":
      return startNode(children, "websocket-origin.ts", port);
    case "tcp-bytes":
    case "tcp-connections":
      return startNode(children, "tcp-origin.ts", port);
  }
}

function startNode(children: Children, program: string, port: number): Promise<Child> {
  return children.start("origin", process.execPath, [join(import.meta.dirname, program), String(port)]);
}

/** nginx, which answers with prepared text. */
function startNginx(children: Children, dir: string, port: number): Promise<Child> {
  const config = join(dir, "nginx.conf");
  writeFileSync(join(dir, "64k"), large);
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((kind) => `${kind}_temp_path ${join(dir, kind)};`)
    .join(" ");
  writeFileSync(
    config,
    `${process.getuid?.() === 0 ? "user root;" : ""} daemon off; worker_processes 1; error_log stderr error; pid ${join(dir, "pid")};
events { worker_connections 8192; }
http {
  ${temp} access_log off; keepalive_timeout 120s; keepalive_requests 100000000; default_type text/plain; etag off;
  open_file_cache max=4; sendfile on; tcp_nopush on;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /64k { root ${dir}; }
    location / { return 200 ${small}; }
  }
}
`,
  );
  return children.start("origin", "nginx", ["-p", dir, "-e", "stderr", "-c", config]);
}

/** nghttpd, HTTP/2 without TLS. For gRPC every answer has a trailer. */
function startNghttpd(children: Children, dir: string, port: number, isGrpc: boolean): Promise<Child> {
  writeFileSync(join(dir, "small"), small);
  mkdirSync(join(dir, "bench.Echo"));
  writeFileSync(join(dir, grpcPath), grpcMessage);
  const types = join(dir, "mime.types");
  writeFileSync(types, "application/grpc grpc\n");
  const grpc = ["--trailer=grpc-status: 0", "--no-content-length", `--mime-types-file=${types}`];
  const args = ["--no-tls", "-a", "127.0.0.1", "-d", dir, "-m", "1000", ...(isGrpc ? grpc : []), String(port)];
  return children.start("origin", "nghttpd", args);
}
