import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Address } from "../config/sidecar-config.ts";
import { isLoopback } from "../config/yaml-addresses.ts";
import { listenPrivately } from "./listen.ts";

/** One answer of a control page. */
export interface Page {
  readonly status: 200 | 503;
  readonly contentType: string;
  readonly body: string;
}

/** What a page may know of who asks. */
export interface Asker {
  /** A process of this machine: over a Unix socket or a loopback address. */
  readonly local: boolean;
}

export type Routes = Readonly<Record<string, (asker: Asker) => Page | Promise<Page>>>;

export interface ControlServer {
  /** As bound: the port that the system chose where 0 was asked. */
  readonly address: Address;
  close(): Promise<void>;
}

const MAX_HEADER_BYTES = 8192;
const MAX_HEADERS = 64;
const MAX_CONNECTIONS = 128;
const TIMEOUT_MS = 5000;
const TEXT = "text/plain; charset=utf-8";

/** A small, strict HTTP server for what operators and probes read: GET and HEAD of known paths, no request bodies, bounded
 *  headers, connections and times. On a loopback address a Host that isn't loopback is refused, so that no web page can
 *  reach it by DNS rebinding. Rejects with CountersignError E_LISTEN. */
export async function startControlServer(
  listen: Address,
  routes: Routes,
  onError: (error: unknown) => void,
): Promise<ControlServer> {
  const server: Server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: TIMEOUT_MS,
      requestTimeout: TIMEOUT_MS,
      keepAliveTimeout: TIMEOUT_MS,
      connectionsCheckingInterval: 1000,
      insecureHTTPParser: false,
    },
    (request, response) => {
      answer(routes, request, response).catch((error: unknown) => {
        onError(error);
        if (response.headersSent) response.destroy();
        else send(request, response, 500, "the page could not be made; see the log\n");
      });
    },
  );
  server.maxHeadersCount = MAX_HEADERS;
  server.maxConnections = MAX_CONNECTIONS;
  server.on("clientError", (_error, socket) => socket.destroy());
  // A status of its own would keep a draining process alive for as long as a probe keeps its connection.
  server.on("connection", (socket: Socket) => socket.unref());
  const address = await listenPrivately(server, listen);
  server.on("error", onError);
  server.unref();
  return {
    address,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(routes: Routes, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { headers, method, socket, url = "" } = request;
  const local = socket.remoteAddress === undefined || isLoopbackPeer(socket.remoteAddress);
  if (socket.localAddress !== undefined && isLoopbackPeer(socket.localAddress) && !isLoopbackHost(headers.host))
    return send(request, response, 421, "this address serves this machine only\n");
  if (method !== "GET" && method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    return send(request, response, 405, "only GET and HEAD\n");
  }
  if (headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0")
    return send(request, response, 400, "no request body is expected\n");
  const query = url.indexOf("?");
  const path = query === -1 ? url : url.slice(0, query);
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
  if (route === undefined) return send(request, response, 404, "no such page\n");
  const page = await route({ local });
  send(request, response, page.status, page.body, page.contentType);
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  body: string,
  contentType: string = TEXT,
): void {
  // After a refusal the connection ends: what follows on it may be a body that nobody reads.
  if (status >= 400 && status !== 404 && status !== 503) response.setHeader("connection", "close");
  response.writeHead(status, {
    "content-type": contentType,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  response.end(request.method === "HEAD" ? undefined : body);
}

function isLoopbackPeer(address: string): boolean {
  return isLoopback(address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address);
}

function isLoopbackHost(host: string | undefined): boolean {
  const name = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+))(?::[0-9]{1,5})?$/.exec(host ?? "");
  const text = name?.[1] ?? name?.[2] ?? "";
  return text.toLowerCase() === "localhost" || isLoopback(text);
}
