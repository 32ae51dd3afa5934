// What is measured: one entry a workload. Names are stable: they appear in --workloads, in the tables and in JSON files.

export interface HttpWorkload {
  readonly kind: "http";
  readonly name: string;
  readonly summary: string;
  readonly connections: number;
  readonly path: string;
  /** Bytes of each request's body; 0 makes it a GET. */
  readonly requestBytes: number;
  /** Every request on a new connection from the client; those between the proxies and to the origin are kept. */
  readonly newConnections: boolean;
}

export interface TcpWorkload {
  readonly kind: "tcp";
  readonly name: string;
  readonly summary: string;
  readonly bytes: number;
}

export type Workload = HttpWorkload | TcpWorkload;

function http(name: string, summary: string, options: Partial<Omit<HttpWorkload, "kind">>): HttpWorkload {
  const base = { connections: 32, path: "/small", requestBytes: 0, newConnections: false };
  return { kind: "http", name, summary, ...base, ...options };
}

export const workloads: readonly Workload[] = [
  http("http1-c1", "HTTP/1.1, 1 connection, 128-byte responses", { connections: 1 }),
  http("http1-c32", "HTTP/1.1, 32 connections, 128-byte responses", {}),
  http("http1-c128", "HTTP/1.1, 128 connections, 128-byte responses", { connections: 128 }),
  http("http1-new-conn", "HTTP/1.1, 32 at a time, a new client connection for each request", { newConnections: true }),
  http("http1-64k", "HTTP/1.1, 32 connections, 64 KiB responses", { path: "/64k" }),
  http("http1-64k-up", "HTTP/1.1, 32 connections, 64 KiB request bodies", { requestBytes: 64 * 1024 }),
  { kind: "tcp", name: "tcp-1g", summary: "TCP relay, 1 connection, 1 GB one way", bytes: 1_000_000_000 },
];
