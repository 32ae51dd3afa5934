import { connect, type Socket } from "node:net";

export interface RawClient {
  readonly socket: Socket;
  /** Everything received so far, one character a byte. */
  readonly received: string;
  send(text: string | Uint8Array): void;
  /** Resolves once what was received fits; rejects when the connection closes before. */
  until(fits: (received: string) => boolean): Promise<string>;
  /** Resolves with everything received once the other side has ended or reset the connection. */
  closed(): Promise<string>;
}

/** A TCP client that keeps every byte, for tests of what is on the wire. */
export async function rawClient(port: number, host = "127.0.0.1"): Promise<RawClient> {
  const socket = connect({ port, host, allowHalfOpen: true, noDelay: true });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  return wrapRawClient(socket);
}

export function wrapRawClient(socket: Socket): RawClient {
  let received = "";
  let over = false;
  const watchers = new Set<() => void>();
  const tell = (): void => {
    for (const watcher of watchers) watcher();
  };
  socket.on("data", (chunk: Buffer) => {
    received += chunk.toString("latin1");
    tell();
  });
  const end = (): void => {
    over = true;
    tell();
  };
  socket.on("end", end);
  socket.on("close", end);
  socket.on("error", end);
  const wait = <T>(look: () => T | undefined, failed: () => Error | undefined): Promise<T> =>
    new Promise((resolve, reject) => {
      const watcher = (): void => {
        const value = look();
        if (value !== undefined) {
          watchers.delete(watcher);
          resolve(value);
          return;
        }
        const error = failed();
        if (error === undefined) return;
        watchers.delete(watcher);
        reject(error);
      };
      watchers.add(watcher);
      watcher();
    });
  return {
    socket,
    get received() {
      return received;
    },
    send: (data) => void socket.write(data),
    until: (fits) =>
      wait(
        () => (fits(received) ? received : undefined),
        () => (over ? new Error(`closed after ${JSON.stringify(received)}`) : undefined),
      ),
    closed: () =>
      wait(
        () => (over ? received : undefined),
        () => undefined,
      ),
  };
}
