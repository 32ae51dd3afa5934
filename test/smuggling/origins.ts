// Real servers behind the sidecar. Each writes down what it understood; those that are proxies themselves hand it on to
// the Python server, which says what came of it.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePorts, isListening } from "../../bench/ports.ts";
import { type Child, type Children, waitUntilReady } from "../../bench/processes.ts";
import type { SeenRequest } from "./seen-request.ts";

export const originNames = ["python", "nginx", "apache", "haproxy"] as const;
export type OriginName = (typeof originNames)[number];

export interface Origin {
  readonly port: number;
  /** What the servers wrote down so far, in the order of each. */
  seen(): readonly SeenRequest[];
}

/** How to get a server that is not there. */
export const originHints: Readonly<Record<OriginName, string>> = {
  python: "install Python 3",
  nginx: "apt-get install nginx-light",
  apache: "apt-get install apache2-bin",
  haproxy: "apt-get install haproxy",
};

/** undefined: its program is not installed. */
export async function startOrigin(children: Children, name: OriginName, dir: string): Promise<Origin | undefined> {
  const [sinkPort = 0, port = 0] = await freePorts(2);
  const sink = await startLogged(
    children,
    "python3",
    ["-u", join(import.meta.dirname, "origin.py"), `${sinkPort}`],
    sinkPort,
  );
  if (sink === undefined) return undefined;
  const sinkSeen = (): SeenRequest[] => linesOf(sink.output()).map(readPython);
  if (name === "python") return { port: sinkPort, seen: sinkSeen };
  const folder = join(dir, name);
  mkdirSync(folder);
  const front = await startFront(children, name, folder, port, sinkPort);
  if (front === undefined) return undefined;
  const log = (): string => (name === "haproxy" ? front.output() : readFileSync(join(folder, "seen.log"), "utf8"));
  return { port, seen: () => [...linesOf(log()).map((line) => readFront(name, line)), ...sinkSeen()] };
}

async function startLogged(
  children: Children,
  command: string,
  args: readonly string[],
  port: number,
): Promise<Child | undefined> {
  let child: Child;
  try {
    child = await children.start(command, command, args, { stdout: "keep" });
  } catch {
    return undefined; // no such program
  }
  await waitUntilReady(child, () => isListening(port), 10_000);
  return child;
}

function linesOf(log: string): string[] {
  const lines = log.split("\n");
  lines.pop(); // what has not come whole yet
  return lines.filter((line) => line.startsWith("{"));
}

function startFront(
  children: Children,
  name: Exclude<OriginName, "python">,
  dir: string,
  port: number,
  sink: number,
): Promise<Child | undefined> {
  const config = join(dir, "config");
  switch (name) {
    case "nginx":
      writeFileSync(config, nginxConfig(dir, port, sink));
      return startLogged(children, "nginx", ["-p", dir, "-e", "stderr", "-c", config], port);
    case "apache":
      writeFileSync(config, apacheConfig(dir, port, sink));
      return startLogged(children, "apache2", ["-f", config, "-DFOREGROUND"], port);
    case "haproxy":
      writeFileSync(config, haproxyConfig(port, sink));
      return startLogged(children, "haproxy", ["-db", "-f", config], port);
  }
}

function nginxConfig(dir: string, port: number, sink: number): string {
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${dir}/${kind};`);
  return `${process.getuid?.() === 0 ? "user root;" : ""} daemon off; worker_processes 1; error_log stderr crit; pid ${dir}/pid;
events { worker_connections 4096; }
http {
  ${temp.join(" ")}
  log_format seen escape=json '{"method":"$request_method","target":"$request_uri","host":"$http_host","line":"$request"}';
  access_log ${dir}/seen.log seen; keepalive_requests 1000000; client_max_body_size 0; ignore_invalid_headers off;
  server {
    listen 127.0.0.1:${port} backlog=512;
    location / { proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_set_header Connection ""; proxy_pass http://127.0.0.1:${sink}; }
  }
}
`;
}

function apacheConfig(dir: string, port: number, sink: number): string {
  const modules = ["mpm_event", "authz_core", "proxy", "proxy_http"]
    .map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`)
    .join("\n");
  return `ServerRoot ${dir}
ServerName app.test
PidFile ${dir}/pid
${modules}
${process.getuid?.() === 0 ? "User www-data\nGroup www-data" : ""}
Listen 127.0.0.1:${port}
ErrorLog ${dir}/error.log
LogLevel crit
LogFormat "{\\"method\\":\\"%m\\",\\"host\\":\\"%{Host}i\\",\\"line\\":\\"%r\\"}" seen
CustomLog ${dir}/seen.log seen
KeepAlive On
MaxKeepAliveRequests 0
AllowEncodedSlashes NoDecode
ProxyPreserveHost On
ProxyPass / http://127.0.0.1:${sink}/ nocanon
`;
}

function haproxyConfig(port: number, sink: number): string {
  return `global
  nbthread 1
  log stdout format raw local0
defaults
  mode http
  log global
  option dontlognull
  timeout connect 2s
  timeout client 30s
  timeout server 30s
frontend in
  bind 127.0.0.1:${port}
  http-request set-var(txn.host) req.hdr(host)
  http-request set-var(txn.target) pathq
  log-format '{"method":"%HM","target":"%{+E}[var(txn.target)]","host":"%{+E}[var(txn.host)]","line":"%tsc"}'
  default_backend app
backend app
  http-reuse always
  server app 127.0.0.1:${sink}
`;
}

interface PythonLine {
  readonly method?: string;
  readonly target?: string;
  readonly host?: readonly string[];
  readonly length?: number | null;
  readonly line?: string;
}

function readPython(line: string): SeenRequest {
  const { method = "", target, host, length, line: refused = "" } = JSON.parse(line) as PythonLine;
  return { by: "python", method, target: target ?? refused, hosts: host, length: length ?? undefined };
}

function readFront(by: OriginName, text: string): SeenRequest {
  // what Apache escapes as \xHH, and HAProxy as \], is no JSON
  const json = text.replace(/\\x([0-9a-f]{2})/gi, "\\u00$1").replaceAll("\\]", "]");
  const fields = JSON.parse(json) as Record<string, string>;
  const { method = "", target = "", host = "", line = "" } = fields;
  // Apache's own target is normalised already; nginx has none for what it refuses after the first line
  const [, asked = method, path = target || line || method] = /^(\S+) (\S+) HTTP\/1\.[01]$/.exec(line) ?? [];
  const isRead = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(asked);
  const hasHost = isRead && method === asked;
  return { by, method: isRead ? asked : "", target: path, hosts: hasHost ? [host] : undefined, length: undefined };
}
