import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { CliIo } from "./cli-io.ts";

const CHUNK = Buffer.alloc(64 * 1024, "countersign ");
const CHUNK_EVERY_MS = 25;

/** The demo's two apps. Neither knows of keys, certificates or policies: they speak plain HTTP on loopback.
 *  `orders` serves; `web` calls what it is told to, through its sidecar. Prints its port as one line of JSON. */
export async function runDemoApp(role: string | undefined, io: CliIo): Promise<number> {
  const handler = role === "orders" ? orders : role === "web" ? web : undefined;
  if (handler === undefined) {
    io.err("countersign demo app: orders or web\n");
    return 2;
  }
  const server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  io.out(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`);
  await new Promise<void>((resolve) => {
    if (io.signal.aborted) resolve();
    io.signal.addEventListener("abort", () => resolve(), { once: true });
  });
  server.close();
  server.closeAllConnections();
  return 0;
}

function orders(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? "/", "http://orders");
  if (url.pathname === "/download") {
    download(Number(url.searchParams.get("chunks") ?? "8"), response);
    return;
  }
  request.resume();
  response.setHeader("content-type", "text/plain");
  response.end(`orders: ${request.method} ${url.pathname}\n`);
}

/** Sends slowly, so that there is time for an SVID to rotate in the middle. */
function download(chunks: number, response: ServerResponse): void {
  let left = Math.min(Math.max(1, chunks), 10_000);
  response.setHeader("content-type", "application/octet-stream");
  response.setHeader("content-length", String(left * CHUNK.length));
  const timer = setInterval(() => {
    response.write(CHUNK);
    left--;
    if (left > 0) return;
    clearInterval(timer);
    response.end();
  }, CHUNK_EVERY_MS);
  response.once("close", () => clearInterval(timer));
}

/** `POST /call?port=9001&method=GET&path=/x` → the answer's status, code and size as JSON. */
function web(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? "/", "http://web");
  const call = httpRequest({
    host: "127.0.0.1",
    port: Number(url.searchParams.get("port")),
    method: url.searchParams.get("method") ?? "GET",
    path: url.searchParams.get("path") ?? "/",
    headers: { host: "orders.shop" },
  });
  const answer = (body: object): void => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(body));
  };
  call.on("response", (got) => {
    let bytes = 0;
    got.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    got.on("error", (error) => answer({ status: got.statusCode, bytes, complete: false, error: error.message }));
    got.on("end", () => {
      answer({
        status: got.statusCode,
        code: got.headers["x-countersign-code"],
        id: got.headers["x-countersign-id"],
        bytes,
        complete: got.complete,
      });
    });
  });
  call.on("error", (error) => answer({ status: 0, bytes: 0, complete: false, error: error.message }));
  call.end();
}

/** Bytes of one chunk of a download. */
export const DOWNLOAD_CHUNK_BYTES = CHUNK.length;
