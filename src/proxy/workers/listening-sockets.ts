import { chmodSync, closeSync, linkSync, unlinkSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { dirname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Address, SidecarConfig } from "../../config/sidecar-config.ts";
import { CountersignError } from "../../core/errors.ts";
import { duplicateFd } from "../../sys/duplicate-fd.ts";
import { randomHex } from "../call-identifiers.ts";
import { listenAt, listenAtPath, removeStaleSocket } from "../listener.ts";
import { type ListenerConfig, unixModeOf, wantedListeners } from "../listener-configs.ts";
import { addressText, reasonOf } from "../upstream/dial.ts";

type Direction = "inbound" | "outbound";

/** A listener's socket as workers are told of it. */
export interface WorkerSocket {
  readonly direction: Direction;
  readonly name: string;
  /** The main thread's descriptor: a worker makes one of its own from it. */
  readonly fd: number;
  readonly address: Address;
  readonly connections: Int32Array;
}

/** The listening sockets of all workers. The main thread makes them and accepts nothing: the workers share one queue of waiting
 *  connections, so that none waits for a worker that is busy while another is not, and a worker's end loses none. (SO_REUSEPORT would give
 *  each a queue of its own, and would let any process of our user bind the port beside us.) */
export interface ListeningSockets {
  /** Opens what `next` has and the configuration in force has not. Rejects with CountersignError E_LISTEN, and then changes nothing. */
  prepare(next: SidecarConfig): Promise<PreparedSockets>;
  /** Where the workers hold no copies any more, nobody listens from here on. */
  close(): void;
}

export interface PreparedSockets {
  /** Of all listeners, in the order of the configuration. */
  readonly sockets: readonly WorkerSocket[];
  /** Closes what the configuration does not have any more. */
  commit(): void;
  abandon(): void;
}

/** A socket by the place that a configuration names. */
interface Bound {
  readonly fd: number;
  readonly address: Address;
}

interface Place {
  readonly direction: Direction;
  readonly config: ListenerConfig;
  readonly key: string;
  readonly connections: Int32Array;
}

/** `onListening`: a listener that was not there before is in force. */
export function createListeningSockets(
  onListening: (direction: Direction, name: string, address: Address) => void,
): ListeningSockets {
  let open = new Map<string, Bound>();
  let places: readonly Place[] = [];

  function placesOf(config: SidecarConfig): Place[] {
    const keys = new Set<string>();
    return wantedListeners(config).map(({ direction, config: one }) => {
      const { name, listen } = one;
      // the system chooses a port for the listener that asks, and another one for the next that asks
      const key = listen.kind === "tcp" && listen.port === 0 ? `${direction} ${name}` : addressText(listen);
      if (keys.has(key))
        throw new CountersignError(
          "E_LISTEN",
          `cannot listen on ${addressText(listen)}: two listeners have the address`,
        );
      keys.add(key);
      const known = places.find(
        (place) => place.direction === direction && place.key === key && isDeepStrictEqual(place.config, one),
      );
      return known ?? { direction, config: one, key, connections: new Int32Array(new SharedArrayBuffer(4)) };
    });
  }

  return {
    async prepare(next) {
      const wanted = placesOf(next);
      const bound = new Map<string, Bound>();
      const opened: Bound[] = [];
      const abandon = (): void => {
        for (const one of opened) closeBound(one);
      };
      try {
        for (const { key, config } of wanted) {
          let one = open.get(key);
          if (one === undefined) {
            // oxlint-disable-next-line no-await-in-loop -- one that fails must find the others open, to close them
            one = await bind(config.listen, unixModeOf(config));
            opened.push(one);
          }
          bound.set(key, one);
        }
      } catch (error) {
        abandon();
        throw error;
      }
      const boundOf = ({ key }: Place): Bound => {
        const one = bound.get(key);
        if (one === undefined) throw new TypeError(`${key} was not opened`);
        return one;
      };
      return {
        sockets: wanted.map((place) => {
          const { direction, config, connections } = place;
          return { direction, name: config.name, connections, ...boundOf(place) };
        }),
        commit() {
          for (const [key, one] of open) if (!bound.has(key)) closeBound(one);
          for (const place of wanted) {
            if (places.includes(place)) continue;
            const { listen, name } = place.config;
            if (listen.kind === "unix") chmodSync(listen.path, unixModeOf(place.config));
            onListening(place.direction, name, boundOf(place).address);
          }
          open = bound;
          places = wanted;
        },
        abandon,
      };
    },
    close() {
      for (const one of open.values()) closeBound(one);
      open = new Map();
      places = [];
    },
  };
}

function closeBound({ fd, address }: Bound): void {
  closeSync(fd);
  if (address.kind === "unix") unlinkIfThere(address.path);
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // somebody was faster
  }
}

/** A listening socket of which only a descriptor is left. Its server is closed in the turn in which it began to listen, before the event
 *  loop could see a connection. */
async function bind(listen: Address, unixMode: number): Promise<Bound> {
  const server = createServer();
  try {
    if (listen.kind === "tcp") {
      await listenAt(server, listen, { host: listen.host, port: listen.port });
      const bound = server.address();
      const address: Address =
        bound !== null && typeof bound === "object" ? { kind: "tcp", host: bound.address, port: bound.port } : listen;
      return { fd: duplicateFd(fdOf(server)), address };
    }
    await removeStaleSocket(listen.path);
    // Node removes the file of a Unix socket with the server: so the server's is another name of the same socket
    const madeAt = join(dirname(listen.path), `.${randomHex(4)}`);
    await listenAtPath(server, listen, madeAt);
    const fd = duplicateFd(fdOf(server));
    try {
      chmodSync(madeAt, unixMode);
      linkSync(madeAt, listen.path);
    } catch (error) {
      closeSync(fd);
      throw new CountersignError(
        "E_LISTEN",
        `cannot listen on ${addressText(listen)}: ${error instanceof Error ? reasonOf(error) : "unknown"}`,
        {
          cause: error,
        },
      );
    }
    return { fd, address: listen };
  } finally {
    server.close();
  }
}

/** Node keeps it on the handle, without a public name. */
function fdOf(server: Server): number {
  const { fd } = (server as unknown as { readonly _handle: { readonly fd?: unknown } })._handle;
  if (typeof fd !== "number")
    throw new CountersignError("E_SYS_UNAVAILABLE", "this platform shows no file descriptors");
  return fd;
}
