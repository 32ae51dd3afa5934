import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";

export interface TestApp {
  readonly port: number;
  /** Requests that arrived, in order. */
  readonly requests: IncomingMessage[];
  readonly server: Server;
  close(): Promise<void>;
}

/** An app on loopback, as an app's developer would write it. */
export async function startApp(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
  host = "127.0.0.1",
): Promise<TestApp> {
  const requests: IncomingMessage[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    requests.push(request);
    handler(request, response);
  });
  server.keepAliveTimeout = 60_000;
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    server,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

export interface TestTcpApp {
  readonly port: number;
  readonly sockets: Socket[];
  close(): Promise<void>;
}

/** A TCP app on loopback. */
export async function startTcpApp(handler: (socket: Socket) => void): Promise<TestTcpApp> {
  const sockets: Socket[] = [];
  const server = createTcpServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => undefined);
    handler(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** The whole body of a request or response. */
export async function bodyOf(message: AsyncIterable<Buffer>): Promise<string> {
  let text = "";
  for await (const chunk of message) text += chunk.toString("latin1");
  return text;
}
