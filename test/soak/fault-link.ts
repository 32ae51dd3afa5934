// A TCP proxy that breaks connections in the ways that networks, crashes and restarts do.
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** What happens to the link, once. */
export const faults = ["reset", "half-close", "truncate", "delay", "refuse", "restart"] as const;
export type Fault = (typeof faults)[number];

interface Pair {
  readonly down: Socket;
  readonly up: Socket;
  /** Bytes that still pass before the pair is cut. */
  allowance: number;
  /** Milliseconds that each chunk waits. */
  delayMs: number;
}

export interface FaultLink extends AsyncDisposable {
  readonly port: number;
  /** Connections that are open now. */
  readonly open: number;
  /** Breaks what is open, or what comes next; returns when the link is whole for new connections again. */
  strike(fault: Fault): Promise<void>;
}

/** Listens on a port of its own and leads to `target`, on 127.0.0.1. */
export async function startFaultLink(target: number): Promise<FaultLink> {
  const pairs = new Set<Pair>();
  let refusing = false;
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (down) => {
    down.on("error", () => undefined);
    if (refusing) {
      down.resetAndDestroy();
      return;
    }
    const up = connect({ port: target, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    up.on("error", () => undefined);
    const pair: Pair = { down, up, allowance: Number.POSITIVE_INFINITY, delayMs: 0 };
    pairs.add(pair);
    couple(pair, down, up);
    couple(pair, up, down);
    for (const [one, other] of [
      [down, up],
      [up, down],
    ] as const)
      one.once("close", () => {
        pairs.delete(pair);
        other.destroy();
      });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

  return {
    port,
    get open() {
      return pairs.size;
    },
    async strike(fault) {
      switch (fault) {
        case "reset":
          for (const { down, up } of pairs) {
            down.resetAndDestroy();
            up.resetAndDestroy();
          }
          return;
        case "half-close":
          for (const { down } of pairs) down.end();
          return;
        case "truncate":
          for (const pair of pairs) pair.allowance = Math.floor(Math.random() * 400);
          return;
        case "delay":
          for (const pair of pairs) pair.delayMs = 1 + Math.floor(Math.random() * 20);
          return;
        case "refuse":
          refusing = true;
          await pause(3);
          refusing = false;
          return;
        case "restart":
          // nobody listens for a moment, and what was open ends in the middle
          await new Promise<void>((resolve) => {
            server.close(() => resolve());
            for (const { down, up } of pairs) {
              down.destroy();
              up.destroy();
            }
          });
          await pause(2);
          await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
          return;
      }
    },
    async [Symbol.asyncDispose]() {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const { down, up } of pairs) {
          down.destroy();
          up.destroy();
        }
      });
    },
  };
}

function couple(pair: Pair, from: Socket, to: Socket): void {
  from.on("data", (chunk: Buffer) => {
    const passes = Math.min(chunk.length, pair.allowance);
    pair.allowance -= passes;
    const forward = (): void => {
      if (to.destroyed) return;
      if (passes > 0 && !to.write(chunk.subarray(0, passes))) {
        from.pause();
        to.once("drain", () => from.resume());
      }
      if (passes < chunk.length) to.destroy(); // the other side sees an end in the middle
    };
    if (pair.delayMs > 0) setTimeout(forward, pair.delayMs);
    else forward();
  });
  from.on("end", () => setTimeout(() => to.end(), pair.delayMs));
}
