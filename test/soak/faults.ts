// Thousands of restarts and broken connections between the sidecars and before the app, under calls over HTTP/1.1 and
// HTTP/2: no call hangs, none is lost from the records or in them twice, and no socket stays behind.
import { readdirSync, readlinkSync } from "node:fs";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { setTimeout as delay } from "node:timers/promises";
import { freePorts } from "../../bench/ports.ts";
import { processTree } from "../../bench/procfs.ts";
import { startApp } from "./app.ts";
import { countByPath, readAuditFile } from "./audit-file.ts";
import { faults as kinds, startFaultLink } from "./fault-link.ts";
import { createFileIdentities } from "./file-identities.ts";
import { callOnce, createAgent, smallAnswer } from "./http-call.ts";
import { type Role, type SoakMesh, sidecarConfig } from "./mesh-config.ts";
import { parseNumbers } from "./number-options.ts";
import { type Sidecar, startSidecar } from "./sidecar.ts";
import type { SoakProgram } from "./soak-program.ts";

const callers = { http1: 12, http2: 12 };
/** Longer than any time limit of a sidecar that a call can meet here. */
const hangMs = 20_000;

/** A fault follows when so many calls went well, or after so many pauses of 2 ms. */
const callsBetweenFaults = 12;
const maxPauses = 100;

interface Tally {
  calls: number;
  ok: number;
  slowestMs: number;
}

export const faults: SoakProgram = async ({ dir, children, checks, signal }, argv) => {
  const { rounds } = parseNumbers(argv, { rounds: 10_000 });
  const posts = new Map<string, number>();
  await using app = await startApp({
    "/post": async (request, response) => {
      const path = request.url ?? "";
      posts.set(path, (posts.get(path) ?? 0) + 1);
      for await (const _ of request);
      response.end(smallAnswer);
    },
  });
  await using beforeApp = await startFaultLink(app.port);
  const [outboundPort = 0, inboundPort = 0] = await freePorts(2);
  await using between = await startFaultLink(inboundPort);
  const mesh: SoakMesh = { dir, trustDomain: "soak.test", outboundPort, inboundPort, appPort: beforeApp.port };
  const identities = createFileIdentities(mesh);
  const start = (role: Role): Promise<Sidecar> =>
    startSidecar(children, {
      name: role,
      dir,
      config: sidecarConfig(
        { ...mesh, ...(role === "web" ? { inboundPort: between.port } : {}) },
        role,
        identities[role],
        "http",
      ),
    });
  const orders = await start("orders");
  const web = await start("web");
  const socketsBefore = [socketsOf(web.child.pid), socketsOf(orders.child.pid)] as const;

  const tally: Tally = { calls: 0, ok: 0, slowestMs: 0 };
  let running = true;
  const path = (kind: string): string => `/${kind}/${tally.calls++}`;
  const agent = createAgent(callers.http1);
  const note = (ok: boolean, sentMs: number): void => {
    if (ok) tally.ok++;
    tally.slowestMs = Math.max(tally.slowestMs, performance.now() - sentMs);
  };
  const http1 = async (): Promise<void> => {
    while (running) {
      const sentMs = performance.now();
      note((await callOnce(agent, outboundPort, path("get"))).ok, sentMs);
    }
  };
  const http2 = async (): Promise<void> => {
    const open = (): ClientHttp2Session => {
      const opened = connectHttp2(`http://127.0.0.1:${outboundPort}`);
      opened.on("error", () => undefined); // its calls say it
      return opened;
    };
    let session = open();
    while (running) {
      if (session.closed || session.destroyed) session = open();
      const sentMs = performance.now();
      note(await post(session, path("post")), sentMs);
    }
    session.destroy();
  };
  const load = [...Array.from({ length: callers.http1 }, http1), ...Array.from({ length: callers.http2 }, http2)];
  for (let round = 0; round < rounds; round++) {
    const kind = kinds[round % kinds.length] ?? "reset";
    await (round % 2 === 0 ? between : beforeApp).strike(kind);
    const wanted = tally.ok + callsBetweenFaults;
    for (let waited = 0; waited < maxPauses && tally.ok < wanted; waited++) await delay(2, undefined, { signal });
  }
  running = false;
  await Promise.all(load);
  agent.destroy();
  // what the sidecars keep for the next call ends with the links
  await between.strike("reset");
  await beforeApp.strike("reset");
  const sockets = (): readonly [number, number] => [socketsOf(web.child.pid), socketsOf(orders.child.pid)];
  const isBack = (): boolean => sockets().every((count, at) => count <= (socketsBefore[at] ?? 0) + 1);
  for (const until = performance.now() + hangMs; !isBack() && performance.now() < until; )
    await delay(200, undefined, { signal });
  const socketsAfter = sockets();
  await Promise.all([web.child.stop(15_000), orders.child.stop(15_000)]);

  const described = `${tally.calls} calls, ${tally.ok} answered well, ${rounds} faults, slowest ${tally.slowestMs.toFixed(0)} ms`;
  checks.check("no call hangs", tally.slowestMs < hangMs, described);
  checks.check("most calls are answered well all the same", tally.ok > tally.calls / 2, described);
  checks.check(
    "no socket stays behind",
    socketsAfter.every((count, at) => count <= (socketsBefore[at] ?? 0) + 1),
    `before ${socketsBefore.join(" and ")}, after ${socketsAfter.join(" and ")}`,
  );
  const own = await readAuditFile(web.auditFile);
  const counts = countByPath(own.calls);
  const recordedOnce = Array.from(counts.values()).filter((count) => count === 1).length;
  checks.check(
    "web has exactly one record for each call",
    counts.size === tally.calls && recordedOnce === tally.calls,
    `${tally.calls} calls, ${counts.size} recorded, ${counts.size - recordedOnce} more than once`,
  );
  const theirs = countByPath((await readAuditFile(orders.auditFile)).calls);
  const tries = new Map(own.calls.map(({ path: called = "", retries = 0 }) => [called, 1 + retries]));
  const unexplained = Array.from(theirs).filter(([called, count]) => count > (tries.get(called) ?? 0));
  checks.check(
    "orders has no record that no try of web's explains",
    unexplained.length === 0,
    `${theirs.size} calls recorded, unexplained ${unexplained.length} ${unexplained.slice(0, 3).join(" ")}`,
  );
  const twice = Array.from(posts.values()).filter((count) => count > 1).length;
  checks.check("no POST reaches the app twice", twice === 0, `${posts.size} reached it, ${twice} more than once`);
};

function post(session: ClientHttp2Session, path: string): Promise<boolean> {
  return new Promise((resolve) => {
    let text = "";
    let status = 0;
    try {
      const stream = session.request({ ":method": "POST", ":path": path });
      const timer = setTimeout(() => stream.destroy(), hangMs);
      stream.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      stream.on("response", (headers) => {
        status = headers[":status"] ?? 0;
      });
      stream.on("error", () => undefined);
      stream.on("close", () => {
        clearTimeout(timer);
        resolve(status === 200 && text === smallAnswer);
      });
      stream.end("body");
    } catch {
      resolve(false); // the session has just ended
    }
  });
}

/** How many sockets a process and its descendants hold. */
function socketsOf(pid: number): number {
  return processTree(pid).reduce((sum, one) => {
    const folder = `/proc/${one}/fd`;
    return sum + readdirSync(folder).filter((fd) => isSocket(`${folder}/${fd}`)).length;
  }, 0);
}

function isSocket(file: string): boolean {
  try {
    return readlinkSync(file).startsWith("socket:");
  } catch {
    return false; // it was closed meanwhile
  }
}
