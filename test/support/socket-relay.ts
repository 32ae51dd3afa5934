import { rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";

/** A Unix socket that leads to another one, and that can break in between. */
export interface SocketRelay {
  /** Breaks every connection. */
  cut(): void;
  /** What a new connection meets from now on: the other socket, an end at once, bytes of this text, or nothing at all. */
  mode: "relay" | "close" | "silence" | { readonly text: string };
  /** Closes and removes the socket. */
  close(): void;
}

export async function startSocketRelay(path: string, target: string): Promise<SocketRelay> {
  const open = new Set<Socket>();
  const keep = (socket: Socket): void => {
    open.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => open.delete(socket));
  };
  const server = createServer((socket) => {
    keep(socket);
    const { mode } = relay;
    if (mode === "silence") socket.resume();
    else if (mode === "close") socket.destroy();
    else if (mode !== "relay") socket.end(mode.text);
    else {
      const upstream = connect({ path: target });
      keep(upstream);
      socket.pipe(upstream).pipe(socket);
      socket.once("close", () => upstream.destroy());
      upstream.once("close", () => socket.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen({ path }, resolve));
  const relay: SocketRelay = {
    mode: "relay",
    cut() {
      for (const socket of open) socket.destroy();
    },
    close() {
      server.close();
      relay.cut();
      rmSync(path, { force: true });
    },
  };
  return relay;
}
