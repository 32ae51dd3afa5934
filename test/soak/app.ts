// The app behind the inbound sidecar, in the soak program's own process, so that a check can see and steer both ends.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { smallAnswer } from "./http-call.ts";

export interface App extends AsyncDisposable {
  readonly port: number;
  readonly server: Server;
}

/** Takes over a request whose path starts with its key; small calls are answered by the app itself. */
export type Handlers = Readonly<Record<string, (request: IncomingMessage, response: ServerResponse) => Promise<void>>>;

export async function startApp(handlers: Handlers = {}): Promise<App> {
  const server = createServer((request, response) => {
    const name = Object.keys(handlers).find((prefix) => request.url?.startsWith(prefix));
    const handler = name === undefined ? undefined : handlers[name];
    if (handler === undefined) {
      request.resume();
      response.end(smallAnswer);
    } else
      handler(request, response).catch((error: unknown) =>
        response.destroy(error instanceof Error ? error : undefined),
      );
  });
  server.keepAliveTimeout = 120_000;
  server.requestTimeout = 0; // large bodies take what they take
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a TCP server has no port");
  return {
    port: address.port,
    server,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
