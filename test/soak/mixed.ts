// Every kind of call at once for as long as asked: none fails that should not, and memory stays flat.
import { writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { connect as connectHttp2, constants } from "node:http2";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { WebSocket, WebSocketServer } from "ws";
import { freePorts } from "../../bench/ports.ts";
import { treeRssBytes } from "../../bench/procfs.ts";
import { median } from "../../bench/statistics.ts";
import { startApp } from "./app.ts";
import type { Checks } from "./checks.ts";
import { createFileIdentities } from "./file-identities.ts";
import { callOnce, createAgent } from "./http-call.ts";
import { measureLiveMemory } from "./live-memory.ts";
import { type Role, type SoakMesh, sidecarConfig, spiffeIdOf } from "./mesh-config.ts";
import { parseNumbers } from "./number-options.ts";
import { type Sidecar, startSidecar } from "./sidecar.ts";
import type { SoakProgram } from "./soak-program.ts";

const roles = ["web", "orders"] as const;
/** Of the time: connections are opened, caches filled, most code is compiled. */
const warmUpShare = 0.2;
/** What code that V8 still optimises takes, whatever the time. A minute has 10 000 calls: 200 bytes of each are found, by 20 minutes 10 bytes. */
const maxKeptBytes = 2e6;
/** Of the resident size, from the first quarter to the last. Before V8 has collected its old generation some times this says little. */
const maxGrowth = { fromMinutes: 10, share: 0.05 };
/** For a shorter run: what lies outside V8's view, such as TLS sessions, would be more. */
const maxResidentBytes = 150e6;
const sampleMs = 2_000;
const mib = Buffer.alloc(1024 * 1024, "countersign");

/** Does one thing once. Resolves with why it failed, or undefined. */
type Task = () => Promise<string | undefined>;

export const mixed: SoakProgram = async ({ dir, children, checks, signal }, argv) => {
  const { minutes } = parseNumbers(argv, { minutes: 20 });
  await using app = await startApp({
    "/large": async (request, response) => {
      let received = 0;
      for await (const chunk of request as AsyncIterable<Buffer>) received += chunk.length;
      if (received > 0) response.end(String(received));
      else response.end(mib);
    },
    "/slow": async (_, response) => {
      response.write("begun");
      await delay(5_000, undefined, { signal });
      response.end();
    },
  });
  const sockets = new WebSocketServer({ noServer: true });
  app.server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) =>
    sockets.handleUpgrade(request, socket, head, (opened) =>
      opened.on("error", () => undefined).on("message", (data, isBinary) => opened.send(data, { binary: isBinary })),
    ),
  );
  const echo = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => echo.listen(0, "127.0.0.1", resolve));
  const [outboundPort = 0, inboundPort = 0, tcpOutbound = 0, tcpInbound = 0] = await freePorts(4);
  const mesh: SoakMesh = { dir, trustDomain: "soak.test", outboundPort, inboundPort, appPort: app.port };
  const { port: echoPort } = echo.address() as AddressInfo;
  const identities = createFileIdentities(mesh);
  const start = (role: Role): Promise<Sidecar> => {
    const http = sidecarConfig(mesh, role, identities[role], "http") as Listeners;
    const ports = { outboundPort: tcpOutbound, inboundPort: tcpInbound, appPort: echoPort };
    const tcp = sidecarConfig({ ...mesh, ...ports }, role, identities[role], "tcp") as Listeners;
    const config = {
      ...http,
      outbound: both(http.outbound, tcp.outbound),
      inbound: both(http.inbound, tcp.inbound),
      policies: role === "orders" ? [allowWeb(mesh)] : [],
    };
    return startSidecar(children, { name: role, dir, config, inspect: true });
  };
  const sidecars = { orders: await start("orders"), web: await start("web") };

  const kinds = tasks(outboundPort, tcpOutbound);
  const results = new Map(Object.keys(kinds).map((kind) => [kind, { done: 0, failures: [] as string[] }]));
  const sizes = { web: [] as number[], orders: [] as number[] };
  const live = async (role: Role): Promise<number> => {
    const { heapBytes, externalBytes } = await measureLiveMemory(sidecars[role].inspectorUrl ?? "", signal);
    return heapBytes + externalBytes;
  };
  /** Resolves when what was begun by then has ended. */
  const load = async (durationS: number): Promise<void> => {
    const untilMs = performance.now() + durationS * 1_000;
    const isOver = (): boolean => performance.now() > untilMs || signal.aborted;
    const loops = Object.entries(kinds).map(async ([kind, { task, pauseMs }]) => {
      const result = results.get(kind);
      while (!isOver() && result !== undefined) {
        const failure = await task();
        result.done++;
        if (failure !== undefined) result.failures.push(failure);
        await delay(pauseMs);
      }
    });
    while (!isOver()) {
      await delay(Math.min(sampleMs, Math.max(1, untilMs - performance.now())), undefined, { signal });
      for (const role of roles) sizes[role].push(treeRssBytes(sidecars[role].child.pid));
    }
    await Promise.all(loops);
  };
  const seconds = 60 * minutes;
  await load(seconds * warmUpShare);
  const before = { web: await live("web"), orders: await live("orders") };
  for (const role of roles) sizes[role].length = 0;
  await load(seconds * (1 - warmUpShare));
  for (const role of roles) {
    const after = await live(role);
    checks.check(
      `${role} keeps nothing of its calls`,
      after - before[role] < maxKeptBytes,
      `${inMb(before[role])}, then ${inMb(after)} alive after collections`,
    );
    checkResident(checks, role, sizes[role], minutes);
  }
  for (const [kind, { done, failures }] of results)
    checks.check(
      `${kind}: none fails`,
      done > 0 && failures.length === 0,
      `${done} done, ${failures.length} failed ${failures.slice(0, 3).join("; ")}`,
    );
  await Promise.all([sidecars.web.child.stop(15_000), sidecars.orders.child.stop(15_000)]);
  for (const socket of sockets.clients) socket.terminate();
  echo.close();
};

function checkResident(checks: Checks, role: Role, sizes: readonly number[], minutes: number): void {
  const quarter = Math.max(1, Math.floor(sizes.length / 4));
  const [first, last] = [median(sizes.slice(0, quarter)), median(sizes.slice(-quarter))];
  const growth = last / first - 1;
  const isLong = minutes >= maxGrowth.fromMinutes;
  checks.check(
    isLong ? `${role}'s memory is flat` : `${role} is smaller than ${inMb(maxResidentBytes)}`,
    isLong ? growth < maxGrowth.share : Math.max(...sizes) < maxResidentBytes,
    `${inMb(first)}, then ${inMb(last)} (${(growth * 100).toFixed(1)} %), at most ${inMb(Math.max(...sizes))}`,
  );
}

function inMb(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

interface Listeners {
  readonly outbound?: readonly object[];
  readonly inbound?: readonly object[];
}

/** A rule that names HTTP's fields would not fit a TCP connection. */
function allowWeb(mesh: SoakMesh): string {
  const file = join(mesh.dir, "allow-web.yaml");
  const source = { principals: [spiffeIdOf(mesh, "web").slice("spiffe://".length)] };
  const metadata = { name: "web", namespace: "shop" };
  const policy = { apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy", metadata };
  writeFileSync(file, JSON.stringify({ ...policy, spec: { action: "ALLOW", rules: [{ from: [{ source }] }] } }));
  return file;
}

function both(http: readonly object[] = [], tcp: readonly object[] = []): readonly object[] {
  return [...http, ...tcp.map((listener) => ({ ...listener, name: "tcp" }))];
}

function tasks(http: number, tcp: number): Readonly<Record<string, { readonly task: Task; readonly pauseMs: number }>> {
  const agent = createAgent(8);
  const small: Task = async () => (await callOnce(agent, http, "/small")).failure;
  const session = connectHttp2(`http://127.0.0.1:${http}`);
  session.on("error", () => undefined); // its calls say it
  const overHttp2 = (path: string, isGivenUp = false): Promise<string | undefined> =>
    new Promise((resolve) => {
      const stream = session.request({ ":path": path });
      let status = 0;
      stream.on("response", (headers) => {
        status = headers[":status"] ?? 0;
        if (isGivenUp) setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), 30);
      });
      stream.on("error", () => undefined);
      stream.on("close", () => resolve(status === 200 ? undefined : `status ${status}`));
      stream.resume();
    });
  const lasting = new WebSocket(`ws://127.0.0.1:${http}/lasting`);
  lasting.on("error", () => undefined);
  return {
    "HTTP/1.1 calls": { task: small, pauseMs: 15 },
    "HTTP/1.1 calls on connections of their own": {
      task: async () => {
        const single = createAgent(1);
        const { failure } = await callOnce(single, http, "/single");
        single.destroy();
        return failure;
      },
      pauseMs: 40,
    },
    "HTTP/2 calls": { task: () => overHttp2("/h2"), pauseMs: 15 },
    "answers of 1 MiB": { task: () => overHttp2("/large"), pauseMs: 400 },
    "bodies of 1 MiB": { task: () => upload(http), pauseMs: 400 },
    "calls that their caller gives up": { task: () => overHttp2("/slow", true), pauseMs: 50 },
    "messages of a lasting WebSocket": { task: () => ping(lasting), pauseMs: 20 },
    "WebSockets that come and go": { task: () => shortSocket(http), pauseMs: 100 },
    "TCP connections": { task: () => exchange(tcp), pauseMs: 40 },
  };
}

async function upload(port: number): Promise<string | undefined> {
  const response = await fetch(`http://127.0.0.1:${port}/large`, { method: "POST", body: mib });
  const text = await response.text();
  return text === String(mib.length) ? undefined : `status ${response.status}: ${text.slice(0, 100)}`;
}

async function ping(socket: WebSocket): Promise<string | undefined> {
  if (socket.readyState === WebSocket.CONNECTING) await new Promise((resolve) => socket.once("open", resolve));
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve("no echo in 10 s"), 10_000);
    socket.once("message", () => {
      clearTimeout(timer);
      resolve(undefined);
    });
    socket.send("hello");
  });
}

function shortSocket(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/short`);
    socket.on("error", (error) => resolve(error.message));
    socket.on("open", () => socket.send("hello"));
    socket.on("message", () => socket.close(1000));
    socket.on("close", (code) => resolve(code === 1000 ? undefined : `closed ${code}`));
  });
}

function exchange(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.on("error", (error) => resolve(error.message));
    socket.once("connect", () => socket.write("hello"));
    socket.once("data", () => socket.end());
    socket.on("close", () => resolve(socket.bytesRead === 5 ? undefined : `${socket.bytesRead} bytes`));
  });
}
