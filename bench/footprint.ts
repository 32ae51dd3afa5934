// What a peer costs before and between calls: time from its start to its first answer, and memory when idle and under idle
// connections.
import { rmSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type RunContext, startPeer } from "./measure.ts";
import { startOrigin } from "./origins.ts";
import type { Peer } from "./peers/peer.ts";
import { freePorts } from "./ports.ts";
import { createChildren } from "./processes.ts";
import { treeRssBytes } from "./procfs.ts";
import { median } from "./statistics.ts";
import { type Workload, workloads } from "./workloads.ts";

export const idleConnections = 1_000;
/** Between the last thing that happened and a look at memory. */
const settleMs = 3_000;

export interface Footprint {
  readonly peer: string;
  /** From starting the inbound hop's process to its accepting connections; median of the rounds. */
  readonly startMs: number;
  /** Of the larger hop: after one call, and with `idleConnections` to the outbound that each had one call. */
  readonly idleRssBytes: number;
  readonly connectedRssBytes: number;
}

export async function measureFootprint(peer: Peer, context: RunContext): Promise<Footprint> {
  const workload = workloads.find(({ name }) => name === "http1-c32");
  if (workload === undefined) throw new TypeError("no workload http1-c32");
  const startTimes: number[] = [];
  for (let round = 1; round < context.plan.rounds; round++)
    startTimes.push((await measureOnce(peer, context, workload, 0)).startMs);
  const last = await measureOnce(peer, context, workload, idleConnections);
  return { ...last, peer: peer.name, startMs: median([...startTimes, last.startMs]) };
}

async function measureOnce(
  peer: Peer,
  context: RunContext,
  workload: Workload,
  connections: number,
): Promise<Omit<Footprint, "peer">> {
  const dir = join(context.dir, `footprint-${peer.name}`);
  await mkdir(dir);
  const sockets: Socket[] = [];
  try {
    await using children = createChildren(context.signal);
    const [app = 0] = await freePorts(1);
    await startOrigin(children, workload, context.tools, dir, app);
    let startMs = 0;
    const timed: Peer = {
      ...peer,
      async start(hop, mesh, hopChildren) {
        const startedMs = performance.now();
        const started = await peer.start(hop, mesh, hopChildren);
        if (hop === "inbound") startMs = performance.now() - startedMs;
        return started;
      },
    };
    const { mesh, outbound, inbound } = await startPeer(timed, dir, app, workload, context.identities, children);
    const rss = async (): Promise<number> => {
      await delay(settleMs, undefined, { signal: context.signal });
      return Math.max(treeRssBytes(outbound.child.pid), treeRssBytes(inbound.child.pid));
    };
    if (connections === 0) return { startMs, idleRssBytes: 0, connectedRssBytes: 0 };
    const idleRssBytes = await rss();
    while (sockets.length < connections) sockets.push(await callAndStay(mesh.ports.outbound));
    const connectedRssBytes = await rss();
    if (sockets.some(({ destroyed }) => destroyed)) throw new Error("it closed idle connections");
    return { startMs, idleRssBytes, connectedRssBytes };
  } finally {
    for (const socket of sockets) socket.destroy();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** A connection that had its call and stays open. */
function callAndStay(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    let text = "";
    socket.once("connect", () => socket.write("GET /small HTTP/1.1\r\nHost: orders.bench.test\r\n\r\n"));
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("the connection was closed")));
    socket.on("data", (bytes: Buffer) => {
      text += bytes.toString("latin1");
      if (!text.endsWith("x".repeat(128))) return;
      if (text.startsWith("HTTP/1.1 200")) resolve(socket);
      else reject(new Error(`answered ${text.slice(0, 20)}`));
    });
  });
}
