// What is measured: one entry a workload. Names are stable: they appear in --workloads, in the tables and in JSON files.

/** What the calling app and the app behind speak. */
export type Wire = "http1" | "http2" | "tcp";

/** wrk: HTTP/1.1, a closed loop. */
export interface WrkLoad {
  readonly kind: "wrk";
  readonly connections: number;
  readonly path: string;
  /** Bytes of each request's body; 0 makes it a GET. */
  readonly requestBytes: number;
  /** Every request on a new connection from the client; those between the proxies and to the origin are kept. */
  readonly newConnections: boolean;
}

/** h2load: a closed loop on every stream, or a fixed rate. */
export interface H2loadLoad {
  readonly kind: "h2load";
  readonly connections: number;
  /** At the same time on each connection; 1 for HTTP/1.1. */
  readonly streams: number;
  /** POST of a small message, as gRPC does it, instead of a GET. */
  readonly grpc: boolean;
  /** Requests per second of all connections together; undefined: as fast as it goes. */
  readonly rate: number | undefined;
}

/** Loads made by programs of our own. */
export interface ProgramLoad {
  readonly kind: "grpc-stream" | "websocket" | "tcp-bytes" | "tcp-connections";
  /** grpc-stream, websocket and tcp-connections: at the same time. */
  readonly connections: number;
  /** grpc-stream: on each connection. */
  readonly streams: number;
  /** tcp-bytes: in all. */
  readonly bytes: number;
}

export type Load = WrkLoad | H2loadLoad | ProgramLoad;

/** What one measured unit is. */
export type Unit = "request" | "message" | "connection" | "byte";

export interface Workload {
  readonly name: string;
  readonly summary: string;
  readonly wire: Wire;
  readonly unit: Unit;
  readonly load: Load;
}

function http1(name: string, summary: string, options: Partial<Omit<WrkLoad, "kind">>): Workload {
  const load = { kind: "wrk", connections: 32, path: "/small", requestBytes: 0, newConnections: false } as const;
  return { name, summary, wire: "http1", unit: "request", load: { ...load, ...options } };
}

function h2load(name: string, summary: string, wire: Wire, options: Partial<Omit<H2loadLoad, "kind">>): Workload {
  const load = { kind: "h2load", connections: 8, streams: 16, grpc: false, rate: undefined } as const;
  return { name, summary, wire, unit: "request", load: { ...load, ...options } };
}

function program(name: string, summary: string, wire: Wire, unit: Unit, load: Partial<ProgramLoad>): Workload {
  const base = { kind: "tcp-bytes", connections: 1, streams: 1, bytes: 0 } as const;
  return { name, summary, wire, unit, load: { ...base, ...load } };
}

export const workloads: readonly Workload[] = [
  http1("http1-c1", "HTTP/1.1, 1 connection, 128-byte responses", { connections: 1 }),
  http1("http1-c32", "HTTP/1.1, 32 connections, 128-byte responses", {}),
  http1("http1-c128", "HTTP/1.1, 128 connections, 128-byte responses", { connections: 128 }),
  http1("http1-new-conn", "HTTP/1.1, 32 at a time, a new client connection for each request", { newConnections: true }),
  http1("http1-64k", "HTTP/1.1, 32 connections, 64 KiB responses", { path: "/64k" }),
  http1("http1-64k-up", "HTTP/1.1, 32 connections, 64 KiB request bodies", { requestBytes: 64 * 1024 }),
  h2load("http1-1000rps", "HTTP/1.1, 1 000 requests/s on 20 connections", "http1", {
    connections: 20,
    streams: 1,
    rate: 1_000,
  }),
  h2load("http2-8x16", "HTTP/2, 8 connections with 16 streams", "http2", {}),
  h2load("http2-32x1", "HTTP/2, 32 connections with 1 stream", "http2", { connections: 32, streams: 1 }),
  h2load("http2-4x100", "HTTP/2, 4 connections with 100 streams", "http2", { connections: 4, streams: 100 }),
  h2load("grpc-unary", "gRPC unary, 8 connections with 16 calls", "http2", { grpc: true }),
  program("grpc-stream", "gRPC ping-pong of small messages, 8 connections with 16 streams", "http2", "message", {
    kind: "grpc-stream",
    connections: 8,
    streams: 16,
  }),
  program("websocket", "WebSocket echo of 128-byte messages, 32 connections", "http1", "message", {
    kind: "websocket",
    connections: 32,
  }),
  program("tcp-1g", "TCP relay, 1 connection, 1 GB one way", "tcp", "byte", {
    kind: "tcp-bytes",
    bytes: 1_000_000_000,
  }),
  program("tcp-new-conn", "TCP relay, 16 at a time, a new connection for each 64-byte exchange", "tcp", "connection", {
    kind: "tcp-connections",
    connections: 16,
  }),
];
