import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { Socket } from "node:net";

/** One answer. */
export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
  /** Seconds that others may keep it; 0: not at all. */
  readonly maxAgeSeconds: number;
}

/** Answers one request whose body is read. Rejects only for what is our fault. */
export type AnswerRequest = (request: {
  readonly method: string;
  /** Without query. */
  readonly path: string;
  readonly body: string;
  readonly socket: Socket;
}) => Promise<Answer>;

const MAX_HEADER_BYTES = 8192;
const MAX_HEADERS = 64;
const MAX_CONNECTIONS = 256;
const TIMEOUT_MS = 10_000;
const OPTIONS = {
  maxHeaderSize: MAX_HEADER_BYTES,
  headersTimeout: TIMEOUT_MS,
  requestTimeout: TIMEOUT_MS,
  keepAliveTimeout: TIMEOUT_MS,
  connectionsCheckingInterval: 1000,
  insecureHTTPParser: false,
} as const;

/** A small, strict HTTP server: bounded headers, bodies, connections and times. Not yet listening. */
export function smallHttpServer(
  answer: AnswerRequest,
  limits: { readonly bodyBytes: number },
  onError: (error: unknown) => void,
): Server {
  return bounded(createServer(OPTIONS, listener(answer, limits.bodyBytes, onError)));
}

/** The same over TLS; no client certificate is asked for. Its context comes by setSecureContext. */
export function smallHttpsServer(
  answer: AnswerRequest,
  limits: { readonly bodyBytes: number },
  onError: (error: unknown) => void,
): TlsServer {
  const options = { ...OPTIONS, minVersion: "TLSv1.2", handshakeTimeout: TIMEOUT_MS } as const;
  return bounded(createTlsServer(options, listener(answer, limits.bodyBytes, onError)));
}

/** Stops listening and cuts what is open. */
export function closeHttp(server: Server | TlsServer): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

function bounded<S extends Server | TlsServer>(server: S): S {
  server.maxHeadersCount = MAX_HEADERS;
  server.maxConnections = MAX_CONNECTIONS;
  server.on("clientError", (_error: Error, socket: Socket) => socket.destroy());
  server.on("tlsClientError", () => undefined);
  return server;
}

function listener(answer: AnswerRequest, bodyBytes: number, onError: (error: unknown) => void): RequestListener {
  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await readBody(request, bodyBytes);
    if (body === undefined) return send(request, response, TOO_LARGE);
    const { method = "GET", url = "/", socket } = request;
    const [path = "/"] = url.split("?");
    send(request, response, await answer({ method, path, body, socket }));
  };
  return (request, response) => {
    respond(request, response).catch((error: unknown) => {
      if (request.destroyed && !request.complete) return; // the caller went away
      onError(error);
      if (response.headersSent) response.destroy();
      else send(request, response, FAILED);
    });
  };
}

/** undefined: it is larger than allowed. */
async function readBody(request: IncomingMessage, maxBytes: number): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, length).toString("utf8");
}

const TEXT = "text/plain; charset=utf-8";
const FAILED: Answer = {
  status: 500,
  contentType: TEXT,
  body: "the issuer failed; its log says why\n",
  maxAgeSeconds: 0,
};
const TOO_LARGE: Answer = { status: 413, contentType: TEXT, body: "the request is too large\n", maxAgeSeconds: 0 };
export const NOT_FOUND: Answer = { status: 404, contentType: TEXT, body: "no such page\n", maxAgeSeconds: 0 };
export const WRONG_METHOD: Answer = { status: 405, contentType: TEXT, body: "not by this method\n", maxAgeSeconds: 0 };

function send(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  const { status, contentType, body, maxAgeSeconds } = answer;
  // What follows a refused request on its connection may be a body that nobody reads.
  if (!request.complete) response.setHeader("connection", "close");
  response.writeHead(status, {
    "content-type": contentType,
    "content-length": Buffer.byteLength(body),
    "cache-control": maxAgeSeconds === 0 ? "no-store" : `public, max-age=${maxAgeSeconds}`,
    "x-content-type-options": "nosniff",
  });
  response.end(request.method === "HEAD" ? undefined : body);
}
