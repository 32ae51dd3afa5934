import { rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { formatRecordLine, parseRecordLine } from "./audit-lines.ts";
import type { CliIo } from "./cli-io.ts";
import { DOWNLOAD_CHUNK_BYTES, runDemoApp } from "./demo-app.ts";
import { type DemoCall, type DemoResult, describeResult, runDemoCall } from "./demo-calls.ts";
import { type DemoFolder, makeDemoFolder } from "./demo-files.ts";
import { type DemoProcess, startDemoProcess } from "./demo-processes.ts";

const USAGE = `countersign demo [--once]

Starts an embedded issuer, two apps and their sidecars on loopback, makes calls that are allowed, denied and refused,
and shows each as one line. Ends on Ctrl-C, or with --once after the calls (exit 0 only if each ended as it should).
`;
/** Long enough for one rotation at least, at 64 KiB every 25 ms. */
const DOWNLOAD_CHUNKS = 130;
const REPEAT_MS = 3000;
/** Audit records reach their file within 50 ms. */
const AUDIT_SETTLE_MS = 300;

export async function run(argv: readonly string[], io: CliIo): Promise<number> {
  if (argv[0] === "app") return runDemoApp(argv[1], io);
  if (argv.includes("--help") || argv.includes("-h")) {
    io.out(USAGE);
    return 0;
  }
  const unknown = argv.find((word) => word !== "--once");
  if (unknown !== undefined) {
    io.err(`countersign demo: unknown argument ${JSON.stringify(unknown)}\n${USAGE}`);
    return 2;
  }
  const uid = process.getuid?.();
  if (process.platform !== "linux" || uid === undefined) {
    io.err(
      "countersign demo: the embedded issuer attests callers by Linux's peer credentials; run the demo on Linux\n",
    );
    return 1;
  }
  const folder = makeDemoFolder(uid);
  const processes: DemoProcess[] = [];
  try {
    const demo = await startAll(folder, processes, io);
    const results = await makeCalls(demo, io);
    await showAudit(folder, io);
    const failed = results.filter((result) => !result.asExpected);
    io.out(`\n${results.length} calls, ${results.length - failed.length} as expected, ${failed.length} not\n`);
    if (argv.includes("--once")) return failed.length === 0 ? 0 : 1;
    await keepCalling(demo, folder, io);
    return 0;
  } finally {
    for (const one of [...processes].reverse()) await one.stop();
    rmSync(folder.folder, { recursive: true, force: true });
  }
}

/** Everything that a call needs to know of the running demo. */
export interface RunningDemo {
  readonly webApp: number;
  readonly ports: { readonly orders: number; readonly payments: number };
  readonly ordersMesh: number;
  readonly webSidecar: DemoProcess;
  readonly folder: DemoFolder;
}

async function startAll(folder: DemoFolder, processes: DemoProcess[], io: CliIo): Promise<RunningDemo> {
  const script = process.argv[1] ?? "";
  const start = (name: string, node: string, ...args: string[]): DemoProcess => {
    const one = startDemoProcess(name, node, ["--disable-warning=ExperimentalWarning", script, ...args]);
    processes.push(one);
    return one;
  };
  io.out("starting: issuer, two apps, two sidecars …\n");
  const issuer = start("issuer", process.execPath, "issuer", "run", "-c", folder.issuerConfig);
  const ordersApp = start("orders app", process.execPath, "demo", "app", "orders");
  const webApp = start("web app", process.execPath, "demo", "app", "web");
  const [, ordersPort, webPort] = await Promise.all([issuer.event("ready"), portOf(ordersApp), portOf(webApp)]);
  const ordersSidecar = start("orders sidecar", folder.node("orders"), "run", "-c", folder.writeOrders(ordersPort));
  await ordersSidecar.event("ready");
  const ordersAddress = await addressOf(ordersSidecar, "orders");
  const webSidecar = start("web sidecar", folder.node("web"), "run", "-c", folder.writeWeb(ordersAddress));
  await webSidecar.event("ready");
  const [orders, payments] = await Promise.all([addressOf(webSidecar, "orders"), addressOf(webSidecar, "payments")]);
  io.out(`
  web app ──plain──▶ web sidecar ══ mTLS, SVIDs rotate every 2 s ══▶ orders sidecar ──plain──▶ orders app
          127.0.0.1:${portIn(orders)}                        ${ordersAddress}               127.0.0.1:${ordersPort}

`);
  return {
    webApp: webPort,
    ports: { orders: portIn(orders), payments: portIn(payments) },
    ordersMesh: portIn(ordersAddress),
    webSidecar,
    folder,
  };
}

async function portOf(app: DemoProcess): Promise<number> {
  const { port } = JSON.parse(await app.firstLine()) as { port: number };
  return port;
}

async function addressOf(sidecar: DemoProcess, listener: string): Promise<string> {
  const record = await sidecar.event("listening", (one) => one["name"] === listener);
  return String(record["address"]);
}

function portIn(address: string): number {
  return Number(address.slice(address.lastIndexOf(":") + 1));
}

const CALLS: readonly DemoCall[] = [
  {
    kind: "mesh",
    title: "allowed by a rule",
    method: "GET",
    path: "/orders/7",
    to: "orders",
    expect: { status: 200, verdict: "allow" },
  },
  {
    kind: "mesh",
    title: "denied by a DENY rule",
    method: "DELETE",
    path: "/orders/7",
    to: "orders",
    expect: { status: 403, verdict: "deny", code: "E_POLICY_DENIED_BY_RULE" },
  },
  {
    kind: "mesh",
    title: "denied by default",
    method: "POST",
    path: "/orders/7",
    to: "orders",
    expect: { status: 403, verdict: "deny", code: "E_POLICY_DENIED_BY_DEFAULT" },
  },
  {
    kind: "mesh",
    title: "a server with the wrong identity",
    method: "GET",
    path: "/pay",
    to: "payments",
    expect: { status: 502, verdict: "error", code: "E_PEER_WRONG_IDENTITY" },
  },
  {
    kind: "plaintext",
    title: "plaintext straight at the orders sidecar",
    method: "GET",
    path: "/orders/7",
    expect: { status: 403, verdict: "deny", code: "E_PLAINTEXT_REFUSED" },
  },
  {
    kind: "download",
    title: "a download while the SVID rotates",
    method: "GET",
    path: `/download?chunks=${DOWNLOAD_CHUNKS}`,
    to: "orders",
    expect: { status: 200, verdict: "allow", bytes: DOWNLOAD_CHUNKS * DOWNLOAD_CHUNK_BYTES },
  },
];

async function makeCalls(demo: RunningDemo, io: CliIo): Promise<DemoResult[]> {
  const results: DemoResult[] = [];
  for (const call of CALLS) {
    const result = await runDemoCall(demo, call);
    results.push(result);
    io.out(describeResult(result, io.colour));
  }
  return results;
}

async function showAudit(folder: DemoFolder, io: CliIo): Promise<void> {
  await sleep(AUDIT_SETTLE_MS);
  for (const role of ["web", "orders"] as const) {
    io.out(`\ncountersign audit tail ${folder.audit(role)}\n`);
    const text = await readFile(folder.audit(role), "utf8");
    for (const line of text.split("\n")) {
      if (line === "") continue;
      const record = parseRecordLine(line);
      io.out(
        record === undefined ? `  (unreadable) ${line.slice(0, 80)}\n` : `  ${formatRecordLine(record, io.colour)}\n`,
      );
    }
  }
}

async function keepCalling(demo: RunningDemo, folder: DemoFolder, io: CliIo): Promise<void> {
  io.out(`\nCalls go on every ${REPEAT_MS / 1000} s. Ctrl-C stops everything. Meanwhile, elsewhere:
  curl -i http://127.0.0.1:${demo.ports.orders}/orders/1
  countersign audit tail -f ${folder.audit("orders")}
  countersign status --admin unix://${folder.folder}/admin-orders.sock
  edit ${folder.folder}/policies/orders.yaml: it is in force at once

`);
  const quick = CALLS.filter((call) => call.kind !== "download");
  for (let turn = 0; !io.signal.aborted; turn++) {
    try {
      await sleep(REPEAT_MS, undefined, { signal: io.signal });
    } catch {
      return; // Ctrl-C
    }
    const call = quick[turn % quick.length];
    if (call !== undefined) io.out(describeResult(await runDemoCall(demo, call), io.colour));
  }
}
