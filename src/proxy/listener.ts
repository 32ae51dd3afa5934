import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { connect, createServer, type ListenOptions, type Server, type Socket } from "node:net";
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
  /** The socket, where the main thread made it and several threads listen at it; absent: it is opened here. */
  readonly shared?: SharedSocket | undefined;
}

/** A listening socket that another thread has made. */
export interface SharedSocket {
  /** Ours, to be closed with the listener. */
  readonly fd: number;
  /** As bound. */
  readonly address: Address;
  /** One number: its open connections over all threads. In memory that they share. */
  readonly connections: Int32Array;
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
  const { shared } = options;
  /** Counts one more and says how many there were: over all threads, so that two of them never take the last place. */
  const countUp = (): number => (shared === undefined ? connections.size : Atomics.add(shared.connections, 0, 1));
  const countDown = (): void => {
    if (shared !== undefined) Atomics.sub(shared.connections, 0, 1);
  };
  const server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 });
  const listener = {
    name: options.name,
    direction: options.direction,
    connections,
    accept: options.accept,
    address: shared?.address ?? options.listen,
    stopAccepting: () => void server.close(),
    adopt: (make: (onClosed: () => void) => OpenConnection) => {
      if (!server.listening) return false;
      if (countUp() >= options.maxConnections()) {
        countDown();
        return false;
      }
      register(make);
      return true;
    },
  };
  /** Of a connection that was counted. It may be over before `make` returns: what it was made of can be refused at once. */
  const register = <T extends OpenConnection>(make: (onClosed: () => void) => T): T => {
    let place: Place | undefined;
    let closed = false;
    options.onOpened();
    const connection = make(() => {
      if (closed) return;
      closed = true;
      if (place !== undefined) connections.delete(place);
      countDown();
      options.onClosed();
    });
    if (!closed) place = connections.add(connection);
    return connection;
  };
  server.on("connection", (socket) => {
    const beyond = countUp() - options.maxConnections();
    if (beyond >= 0) {
      const { spare } = options;
      socket.on("error", () => undefined);
      options.onFull(socket);
      if (spare !== undefined && lane.admits(beyond)) register((onClosed) => spare(socket, onClosed)).start();
      else {
        countDown();
        socket.destroy();
      }
      return;
    }
    register((onClosed) => listener.accept(socket, onClosed)).start();
  });
  if (shared !== undefined) {
    await listenAt(server, options.listen, { fd: shared.fd });
    server.on("error", options.onError);
    return listener;
  }
  await listenOn(server, options.listen);
  server.on("error", options.onError);
  if (options.listen.kind === "unix") chmodSync(options.listen.path, options.unixMode);
  const bound = server.address();
  if (bound !== null && typeof bound === "object")
    listener.address = { kind: "tcp", host: bound.address, port: bound.port };
  return listener;
}

async function listenOn(server: Server, address: Address): Promise<void> {
  if (address.kind === "tcp") {
    await listenAt(server, address, { host: address.host, port: address.port });
    return;
  }
  await removeStaleSocket(address.path);
  await listenAtPath(server, address, address.path);
}

/** Listens at a Unix socket, which nobody else may connect to before its mode is set. */
export async function listenAtPath(server: Server, address: Address, path: string): Promise<void> {
  // Node binds a Unix socket within the call, so the mask touches nothing else.
  const before = process.umask(0o177);
  let listening: Promise<void>;
  try {
    listening = listenAt(server, address, { path });
  } finally {
    process.umask(before);
  }
  await listening;
}

/** Rejects with CountersignError E_LISTEN, which names the address. */
export function listenAt(
  server: Server,
  address: Address,
  where: ListenOptions | { readonly fd: number },
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      const text = `cannot listen on ${addressText(address)}: ${reasonOf(error)}`;
      reject(new CountersignError("E_LISTEN", text, { cause: error }));
    });
    server.listen({ ...where, backlog: BACKLOG }, resolve);
  });
}

/** A Unix socket that nobody answers was left behind by a dead process. */
export async function removeStaleSocket(path: string): Promise<void> {
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
