import { lstatSync, unlinkSync } from "node:fs";
import { connect, type Server } from "node:net";
import type { Address } from "../config/sidecar-config.ts";
import { formatAddress } from "../config/yaml-addresses.ts";
import { CountersignError } from "../core/errors.ts";

/** Only the owner may connect; connecting needs write permission on the socket file. */
const OWNER_ONLY = 0o177;
const PROBE_MS = 1000;

/** Binds a server; returns the address as bound. A Unix socket is made with mode 0600, from its first moment. One that a dead process left
 *  behind is replaced; one that somebody answers, and anything that is no socket, never is. Rejects with CountersignError E_LISTEN. */
export async function listenPrivately(server: Server, listen: Address): Promise<Address> {
  if (listen.kind === "unix") await removeStaleSocket(listen);
  await new Promise<void>((resolve, reject) => {
    const onError = (error: Error): void => reject(cannotListen(listen, error.message, error));
    const onListening = (): void => {
      server.removeListener("error", onError);
      resolve();
    };
    server.once("error", onError);
    if (listen.kind === "tcp") {
      server.listen({ host: listen.host, port: listen.port }, onListening);
      return;
    }
    // Node binds a Unix socket within the call, so the mask touches nothing else.
    const before = process.umask(OWNER_ONLY);
    try {
      server.listen({ path: listen.path }, onListening);
    } finally {
      process.umask(before);
    }
  });
  const bound = server.address();
  return bound !== null && typeof bound === "object" ? { kind: "tcp", host: bound.address, port: bound.port } : listen;
}

function cannotListen(listen: Address, reason: string, cause?: unknown): CountersignError {
  return new CountersignError("E_LISTEN", `cannot listen on ${formatAddress(listen)}: ${reason}`, { cause });
}

async function removeStaleSocket(listen: Address & { readonly kind: "unix" }): Promise<void> {
  const stats = lstatSync(listen.path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  if (!stats.isSocket()) throw cannotListen(listen, "there is a file that is no socket");
  if (await isAnswered(listen.path)) throw cannotListen(listen, "another process answers there");
  unlinkSync(listen.path);
}

/** Only a refused connection proves that nobody listens; everything else counts as somebody. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const end = (answered: boolean): void => {
      socket.destroy();
      resolve(answered);
    };
    socket.setTimeout(PROBE_MS, () => end(true));
    socket.on("connect", () => end(true));
    socket.on("error", (error) => end(!("code" in error && error.code === "ECONNREFUSED")));
  });
}
