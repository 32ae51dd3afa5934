// Many rotations, fast, under calls over HTTP/1.1, HTTP/2 and TCP at once.
import { mkdirSync, writeFileSync } from "node:fs";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { freePorts } from "../../bench/ports.ts";
import { waitUntilReady } from "../../bench/processes.ts";
import { startApp } from "./app.ts";
import { type AuditRecord, readAuditFile } from "./audit-file.ts";
import type { Checks } from "./checks.ts";
import { type CallResult, callOnce, createAgent, describeFailures, smallAnswer } from "./http-call.ts";
import { type Role, spiffeIdOf } from "./mesh-config.ts";
import { parseNumbers } from "./number-options.ts";
import { type ProcessSize, sizeOf } from "./process-size.ts";
import { issuerConfig, nodeFor } from "./rotating-issuer.ts";
import { type LogEvent, type Sidecar, startIssuer, startSidecar } from "./sidecar.ts";
import type { SoakProgram } from "./soak-program.ts";
import { isUnixSocketListening } from "./unix-socket.ts";

const trustDomain = "soak.test";
const protocols = ["HTTP/1.1", "HTTP/2", "TCP"] as const;
type Protocol = (typeof protocols)[number];
/** How long after a swap a handshake with the old SVID may still be under way. */
const LATE_MS = 1000;
/** Sizes are taken so often during a run; what the first half of them shows is warming up. */
const SAMPLES = 20;

interface Result extends CallResult {
  readonly protocol: Protocol;
}

export const rotations: SoakProgram = async ({ dir, children, checks, signal }, argv) => {
  const options = parseNumbers(argv, { rotations: 100, "rotation-ms": 250, rate: 500 });
  const { rate, rotations: wanted, "rotation-ms": rotationMs } = options;
  const seconds = Math.ceil((wanted * rotationMs) / 1000) + 2;
  await using app = await startApp();
  await using echo = await startEcho();
  const ports = await freePorts(6);
  const [out1 = 0, out2 = 0, outTcp = 0, in1 = 0, in2 = 0, inTcp = 0] = ports;
  const socket = join(dir, "issuer.sock");
  const nodes = { web: nodeFor("web", dir), orders: nodeFor("orders", dir) };
  const issuer = await startIssuer(children, dir, issuerConfig({ dir, trustDomain }, nodes, socket, rotationMs));
  await waitUntilReady(issuer, () => isUnixSocketListening(socket), 20_000);
  const identity = { workloadApi: { address: `unix://${socket}` } };
  const start = (role: Role, rest: object): Promise<Sidecar> =>
    startSidecar(children, {
      name: role,
      dir,
      node: nodes[role],
      config: { workload: { namespace: "shop", labels: { app: role } }, identity, ...rest },
    });
  const inbound = (name: string, port: number, to: number, protocol: string): object => ({
    name,
    listen: `127.0.0.1:${port}`,
    app: `127.0.0.1:${to}`,
    protocol,
  });
  const outbound = (name: string, port: number, to: number, protocol: string): object => ({
    name,
    listen: `127.0.0.1:${port}`,
    to: [`127.0.0.1:${to}`],
    identity: spiffeIdOf({ trustDomain }, "orders"),
    protocol,
  });
  const orders = await start("orders", {
    inbound: [
      inbound("h1", in1, app.port, "http1"),
      inbound("h2", in2, app.port, "http1"),
      inbound("tcp", inTcp, echo.port, "tcp"),
    ],
    policies: [writePolicy(dir)],
  });
  const web = await start("web", {
    outbound: [
      outbound("h1", out1, in1, "http"),
      outbound("h2", out2, in2, "http"),
      outbound("tcp", outTcp, inTcp, "tcp"),
    ],
  });

  const agent = createAgent(128);
  const session = connectHttp2(`http://127.0.0.1:${out2}`);
  session.on("error", () => undefined);
  const call: Readonly<Record<Protocol, (path: string) => Promise<CallResult>>> = {
    "HTTP/1.1": (path) => callOnce(agent, out1, path),
    "HTTP/2": (path) => callHttp2(session, path),
    TCP: (path) => callTcp(outTcp, path),
  };
  const pids = { web: web.child.pid, orders: orders.child.pid };
  const samples: Record<Role, ProcessSize[]> = { web: [], orders: [] };
  const sample = (): void => {
    samples.web.push(sizeOf(pids.web));
    samples.orders.push(sizeOf(pids.orders));
  };
  const startedMs = performance.now();
  const calls: Promise<Result>[] = [];
  while (calls.length < rate * seconds) {
    const elapsed = (performance.now() - startedMs) / 1e3;
    const due = Math.min(rate * seconds, elapsed * rate);
    for (; calls.length < due; ) {
      const protocol = protocols[calls.length % protocols.length] ?? "TCP";
      calls.push(call[protocol](`/call/${calls.length}`).then((result) => ({ ...result, protocol })));
    }
    if (elapsed > (seconds / SAMPLES) * (samples.web.length + 1)) sample();
    // oxlint-disable-next-line no-await-in-loop -- the rate is what is kept
    await delay(5, undefined, { signal });
  }
  const results = await Promise.all(calls);
  const endedMs = performance.now();
  await delay(1000, undefined, { signal }); // what is closing has closed
  sample();
  session.destroy();
  agent.destroy();
  await Promise.all([web.child.stop(10_000), orders.child.stop(10_000)]);
  await issuer.stop();

  for (const protocol of protocols) {
    const own = results.filter((one) => one.protocol === protocol);
    const failed = own.filter(({ ok }) => !ok);
    checks.check(
      `no call over ${protocol} fails`,
      failed.length === 0,
      `${own.length} calls, ${failed.length} failed ${describeFailures(failed)}`,
    );
  }
  const perSecond = results.length / seconds;
  checks.check(`${rate} calls are made a second`, perSecond >= rate * 0.98, `${perSecond.toFixed(0)}/s`);
  for (const [role, sidecar] of Object.entries({ web, orders }) as [Role, Sidecar][]) {
    const count = rotationsOf(sidecar.events).filter(({ atMs }) => atMs > startedMs && atMs < endedMs).length;
    checks.check(`${role} rotates ${wanted} times`, count >= wanted * 0.95, `${count} rotations in ${seconds} s`);
    const { calls: requests, connections, tornLines } = await readAuditFile(sidecar.auditFile);
    checks.check(
      `${role}'s records are whole, one a call`,
      tornLines === 0 && requests.length + connections.length >= results.length,
      `${requests.length} requests, ${connections.length} connections, ${tornLines} torn lines`,
    );
    const { late, worstMs } = lateHandshakes([...requests, ...connections], web.events);
    checks.check(
      `no call in ${role}'s records rides on an SVID that was replaced more than ${LATE_MS} ms before`,
      late === 0 && Number.isFinite(worstMs),
      `${late} calls, the latest ${worstMs.toFixed(0)} ms after the swap`,
    );
    checkGrowth(checks, role, samples[role]);
  }
};

/** Compares the last quarter of the run with the one before it: what is still kept of each rotation would show. */
function checkGrowth({ check }: Checks, role: Role, samples: readonly ProcessSize[]): void {
  const quarter = Math.floor(samples.length / 4);
  const median = (part: readonly ProcessSize[], of: (size: ProcessSize) => number): number =>
    part.map(of).toSorted((a, b) => a - b)[Math.floor(part.length / 2)] ?? 0;
  const before = samples.slice(-2 * quarter, -quarter);
  const after = samples.slice(-quarter);
  for (const [what, of, slack] of [
    ["sockets", ({ sockets }: ProcessSize) => sockets, 10],
    // it goes up and down with garbage collection
    ["memory (MiB)", ({ rssMiB }: ProcessSize) => rssMiB, 16],
  ] as const) {
    const [was, is] = [median(before, of), median(after, of)];
    const trend = samples.map((size) => of(size).toFixed(0)).join(" ");
    check(
      `${role}'s ${what} do not grow`,
      is <= was * 1.1 + slack,
      `${was.toFixed(0)} then ${is.toFixed(0)}: ${trend}`,
    );
  }
}

function rotationsOf(events: readonly LogEvent[]): LogEvent[] {
  return events.filter(({ event }) => event === "identity.rotated");
}

/** Calls that began later after the end of their caller's SVID than a handshake takes. */
function lateHandshakes(
  records: readonly AuditRecord[],
  events: readonly LogEvent[],
): { late: number; worstMs: number } {
  const svids = events.filter(({ event, serial }) => event.startsWith("identity.") && serial !== undefined);
  const replacedAt = new Map(svids.slice(1).map(({ timeMs }, i) => [svids[i]?.serial ?? "", timeMs]));
  let late = 0;
  let worstMs = Number.NEGATIVE_INFINITY;
  for (const { source, time, duration_ms: durationMs = 0 } of records) {
    const end = replacedAt.get(source?.svid?.serial ?? "");
    if (end === undefined || time === undefined) continue;
    const afterMs = Date.parse(time) - durationMs - end;
    worstMs = Math.max(worstMs, afterMs);
    if (afterMs > LATE_MS) late++;
  }
  return { late, worstMs };
}

function callHttp2(session: ClientHttp2Session, path: string): Promise<CallResult> {
  const sentMs = performance.now();
  return new Promise((resolve) => {
    const settle = (failure: string | undefined): void =>
      resolve({ path, ok: failure === undefined, sentMs, answeredMs: performance.now(), failure });
    const stream = session.request({ ":path": path });
    let [status, code, text] = [0, "", ""];
    stream.setEncoding("utf8").setTimeout(10_000, () => stream.destroy(new Error("no answer in 10 s")));
    stream.on("response", (headers) => {
      status = headers[":status"] ?? 0;
      code = String(headers["x-countersign-code"] ?? "");
    });
    stream.on("data", (part: string) => {
      text += part;
    });
    stream.on("error", (error) => settle(error.message));
    stream.on("close", () => settle(status === 200 && text === smallAnswer ? undefined : `${status} ${code}`));
    stream.end();
  });
}

function callTcp(port: number, path: string): Promise<CallResult> {
  const sentMs = performance.now();
  return new Promise((resolve) => {
    const settle = (failure: string | undefined): void => {
      socket.destroy();
      resolve({ path, ok: failure === undefined, sentMs, answeredMs: performance.now(), failure });
    };
    const socket = connect({ host: "127.0.0.1", port, noDelay: true });
    let text = "";
    socket.setTimeout(10_000, () => settle("no answer in 10 s"));
    socket.on("data", (part: Buffer) => {
      text += part.toString("latin1");
    });
    socket.on("error", (error) => settle(error.message));
    socket.on("end", () => settle(text === path ? undefined : `${text.length} bytes came back`));
    socket.end(path);
  });
}

async function startEcho(): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined);
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function writePolicy(dir: string): string {
  const folder = join(dir, "policies");
  mkdirSync(folder);
  const source = { principals: [spiffeIdOf({ trustDomain }, "web").slice("spiffe://".length)] };
  const policy = {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name: "callers", namespace: "shop" },
    spec: { action: "ALLOW", rules: [{ from: [{ source }] }] },
  };
  writeFileSync(join(folder, "callers.yaml"), JSON.stringify(policy, undefined, 2));
  return folder;
}
