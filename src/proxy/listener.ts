import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { Address } from "../config/sidecar-config.ts";
import { CountersignError } from "../core/errors.ts";
import { DenseSet, type Place } from "./dense-set.ts";
import type { OpenConnection } from "./open-connection.ts";
import type { Runtime } from "./runtime.ts";
import { SpareLane } from "./spare-lane.ts";
import { addressText, reasonOf } from "./upstream/dial.ts";

/** Makes a connection that lives by this runtime, not yet started. `onClosed` is to be called once its socket is gone. */
export type MakeConnection = (
  runtime: Runtime,
  socket: Socket,
  onClosed: () => void,
) => OpenConnection & { start(): void };

export interface ListenerOptions {
  readonly name: string;
  readonly direction: "inbound" | "outbound";
  readonly listen: Address;
  /** Mode of a Unix socket: who may connect at all. */
  readonly unixMode: number;
  readonly maxConnections: () => number;
  /** Makes the connection, not yet started. `onClosed` is to be called once its socket is gone. */
  readonly accept: (socket: Socket, onClosed: () => void) => OpenConnection & { start(): void };
  /** The listener is full: the connection is not served. */
  readonly onFull: (socket: Socket) => void;
  /** As `accept`, for a connection that is to hear that the listener is full. Absent: such are closed. */
  readonly spare?: ListenerOptions["accept"] | undefined;
  /** The socket cannot accept now (out of file descriptors); it goes on trying. */
  readonly onError: (error: Error) => void;
  readonly onOpened: () => void;
  readonly onClosed: () => void;
}

const BACKLOG = 1024;

/** A listening socket and its open connections. */
export interface Listener {
  readonly name: string;
  readonly direction: "inbound" | "outbound";
  /** As bound: the port that the system chose where 0 was asked. */
  readonly address: Address;
  readonly connections: Pick<DenseSet<OpenConnection>, "size" | "list">;
  /** Takes no new connection; open ones go on. */
  stopAccepting(): void;
  /** Takes a connection that came another way, under the same limit. `make` is as `accept`, which it is not started by. False if the
   *  listener is full or closed. */
  adopt(make: (onClosed: () => void) => OpenConnection): boolean;
  /** Changes what new connections become. */
  accept: ListenerOptions["accept"];
}

/** Opens a listener. Rejects with CountersignError E_LISTEN. A Unix socket left behind by a dead process is removed, one that somebody
 *  answers is not. */
export async function openListener(options: ListenerOptions): Promise<Listener> {
  const connections = new DenseSet<OpenConnection>();
  const lane = new SpareLane();
  const server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 });
  const listener = {
    name: options.name,
    direction: options.direction,
    connections,
    accept: options.accept,
    address: options.listen,
    stopAccepting: () => void server.close(),
    adopt: (make: (onClosed: () => void) => OpenConnection) => {
      if (!server.listening || connections.size >= options.maxConnections()) return false;
      register(make);
      return true;
    },
  };
  const register = <T extends OpenConnection>(make: (onClosed: () => void) => T): T => {
    let place: Place | undefined;
    const connection = make(() => {
      if (place !== undefined && connections.delete(place)) options.onClosed();
    });
    place = connections.add(connection);
    options.onOpened();
    return connection;
  };
  server.on("connection", (socket) => {
    const beyond = connections.size - options.maxConnections();
    if (beyond >= 0) {
      const { spare } = options;
      socket.on("error", () => undefined);
      options.onFull(socket);
      if (spare !== undefined && lane.admits(beyond)) register((onClosed) => spare(socket, onClosed)).start();
      else socket.destroy();
      return;
    }
    register((onClosed) => listener.accept(socket, onClosed)).start();
  });
  if (options.listen.kind === "unix") await removeStaleSocket(options.listen.path);
  await listenOn(server, options.listen);
  server.on("error", options.onError);
  if (options.listen.kind === "unix") chmodSync(options.listen.path, options.unixMode);
  const bound = server.address();
  if (bound !== null && typeof bound === "object")
    listener.address = { kind: "tcp", host: bound.address, port: bound.port };
  return listener;
}

function listenOn(server: Server, address: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      const text = `cannot listen on ${addressText(address)}: ${reasonOf(error)}`;
      reject(new CountersignError("E_LISTEN", text, { cause: error }));
    });
    if (address.kind === "tcp") {
      server.listen({ host: address.host, port: address.port, backlog: BACKLOG }, resolve);
      return;
    }
    // Node binds a Unix socket within the call: nobody else can connect before its mode is set.
    const before = process.umask(0o177);
    try {
      server.listen({ path: address.path, backlog: BACKLOG }, resolve);
    } finally {
      process.umask(before);
    }
  });
}

async function removeStaleSocket(path: string): Promise<void> {
  try {
    if (!lstatSync(path).isSocket()) return;
  } catch {
    return; // nothing there
  }
  const answered = await new Promise<boolean>((resolve) => {
    const probe = connect({ path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (!answered) unlinkSync(path);
}
