import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { auditRecord, auditRecords, finalRecords } from "../support/audit-records.ts";
import { createTestCa, type TestCa, type TestIssued, writeIdentityFiles } from "../support/cert-factory.ts";
import {
  type CountersignProcesses,
  countersignProcesses,
  type SidecarProcess,
} from "../support/countersign-process.ts";
import { ALLOW_WEB, ORDERS, TRUST_DOMAIN, WEB } from "../support/mesh.ts";
import type { RawClient } from "../support/raw-client.ts";
import { ordersYaml, type PairOptions, startOrders, startPair } from "../support/sidecar-pair.ts";
import { tlsClient } from "../support/tls-client.ts";

let dir: string;
let processes: CountersignProcesses;
let cleanups: (() => Promise<void>)[];
let ca: TestCa;
let svid: TestIssued;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "countersign-workers-"));
  processes = countersignProcesses();
  cleanups = [];
  ca = createTestCa(TRUST_DOMAIN);
  svid = ca.issue({ spiffeId: WEB });
});
afterEach(async () => {
  await processes.close();
  for (const cleanup of cleanups) await cleanup();
  rmSync(dir, { recursive: true });
});

const audit = (role: string): string => join(dir, `${role}.jsonl`);
const page = (role: string, name: string, path: string): ReturnType<typeof ask> =>
  ask(join(dir, `${role}-${name}.sock`), path);

interface Status {
  readonly ready: boolean;
  readonly reasons: readonly { readonly code: string }[];
  readonly listeners: readonly { readonly name: string; readonly connections: number }[];
  readonly policy: { readonly version: string };
  readonly workers: readonly {
    readonly worker: number;
    readonly connections: number;
    readonly calls: number;
    readonly callsEnded: number;
    readonly policyVersion: string;
  }[];
}
const status = async (role: string): Promise<Status> =>
  JSON.parse((await page(role, "admin", "/status")).body) as Status;

async function options(handler: Parameters<typeof startApp>[0], more: string): Promise<PairOptions> {
  const app = await startApp(handler);
  cleanups.push(() => app.close());
  return { dir, processes, appPort: app.port, more };
}
const hello = (_: unknown, response: ServerResponse): void => void response.end("hello");

/** Orders' sidecar alone, whose callers are connections of the test. */
async function orders(given: PairOptions): Promise<{ readonly sidecar: SidecarProcess; readonly port: number }> {
  const sidecar = startOrders(given, ca);
  const port = await sidecar.port("in");
  await sidecar.next("ready");
  await sidecar.next("policy.loaded");
  return { sidecar, port };
}

/** Opens connections until every worker has one; which worker takes a connection is the kernel's choice. */
async function connectEverywhere(port: number): Promise<RawClient[]> {
  const clients: RawClient[] = [];
  for (;;) {
    for (let i = 0; i < 4; i++) clients.push(await tlsClient(port, svid));
    const { workers } = await status("orders");
    if (workers.every(({ connections }) => connections > 0)) return clients;
    if (clients.length > 200) throw new Error("200 connections went to one worker");
  }
}
/** What connections have received so far. */
const received = new WeakMap<RawClient, number>();
/** One more call on a connection: what comes back, which is the app's hello or a refusal of ours. */
async function call(client: RawClient, request: string): Promise<string> {
  const before = received.get(client) ?? 0;
  client.send(`${request} HTTP/1.1\r\nHost: a\r\n\r\n`);
  const text = await client.until((all) => /\r\n\r\n(?:hello|[\s\S]*E_[A-Z_]+[\s\S]*)$/.test(all.slice(before)));
  received.set(client, text.length);
  return text.slice(before);
}

function expectOneOrder(file: string): void {
  const all = auditRecords(file);
  expect(all.map(({ seq }) => seq)).toEqual(all.map((_, i) => i + 1));
}

describe("countersign run with several workers", () => {
  it.each([2, 3])("%i of them share a port, and one audit file with rising numbers and no gap", async (workers) => {
    const pair = await startPair(await options(hello, `workers: ${workers}`));
    const paths = Array.from({ length: 150 }, (_, i) => `/orders/${i}`);
    const answers = await Promise.all(paths.map((path) => ask(pair.port, path)));
    expect(answers.map((answer) => `${answer.status} ${answer.body}`)).toEqual(paths.map(() => "200 hello"));

    const web = await status("web");
    expect(web.workers.map(({ worker }) => worker)).toEqual(Array.from({ length: workers }, (_, i) => i + 1));
    const ended = web.workers.map(({ callsEnded }) => callsEnded);
    expect(ended.filter((count) => count > 0).length).toBeGreaterThan(1);
    expect(ended.reduce((sum, count) => sum + count, 0)).toBe(paths.length);
    const metrics = (await page("web", "metrics", "/metrics")).body;
    expect(metrics).toMatch(/^countersign_calls_total\{direction="outbound".*verdict="allow".*\} 150$/m);
    expect(metrics).toMatch(/^countersign_connections_total\{direction="outbound",listener="out"\} 150$/m);
    expect(metrics).toMatch(/^countersign_call_duration_seconds_count\{direction="outbound"\} 150$/m);

    const { stdout } = await processes.command("status", "--admin", join(dir, "web-admin.sock"));
    expect(stdout.match(/^(?:workers {4}| {11})\d+ +0 +0 +\d+ +yes$/gm)).toHaveLength(workers);

    pair.web.signal("SIGTERM");
    pair.orders.signal("SIGTERM");
    expect([(await pair.web.ended).code, (await pair.orders.ended).code]).toEqual([0, 0]);
    for (const role of ["orders", "web"]) {
      const calls = finalRecords(audit(role));
      expect(calls.map(({ path = "" }) => path).toSorted()).toEqual(paths.toSorted());
      expect(new Set(calls.map(({ id }) => id)).size).toBe(paths.length);
      expectOneOrder(audit(role));
    }
    expect((await pair.web.ended).stderr.match(/"event":"listening","name":"out"/g)).toHaveLength(1);
  });

  it("is ready once all have the first SVID, with policies that know its trust domain", async () => {
    const given = await options(hello, "workers: 2");
    writeFileSync(join(dir, "orders.yaml"), ordersYaml(given));
    writeFileSync(join(dir, "policies.yaml"), ALLOW_WEB.replace(`${TRUST_DOMAIN}/ns`, "cluster.local/ns"));
    mkdirSync(join(dir, "orders")); // a folder that is there is watched
    const sidecar = processes.run(join(dir, "orders.yaml"));
    const port = await sidecar.port("in");
    await sidecar.next("policy.loaded");
    expect(JSON.parse((await page("orders", "health", "/readyz")).body)).toMatchObject({
      ready: false,
      reasons: [{ code: "E_IDENTITY_FILE" }],
    });
    writeIdentityFiles(join(dir, "orders"), ca.issue({ spiffeId: ORDERS }), ca);
    await sidecar.next("ready");
    const clients = await connectEverywhere(port);
    const answers = await Promise.all(clients.map((client) => call(client, "GET /first")));
    expect(answers.filter((text) => !text.endsWith("hello"))).toEqual([]);
  });

  it("share a Unix socket too, with its mode and its callers' user ids", async () => {
    const given = await options(hello, "workers: 2");
    const socket = join(dir, "out.sock");
    const uid = process.getuid?.() ?? -1;
    const outbound = `{ name: out, listen: "unix://${socket}", to: ["127.0.0.1:9"], identity: "${ORDERS}", protocol: http, allow: { uids: [${uid}] } }`;
    writeFileSync(
      join(dir, "orders.yaml"),
      ordersYaml(given).replace(/inbound:\n.*\n/, `outbound:\n  - ${outbound}\n`),
    );
    writeFileSync(join(dir, "policies.yaml"), ALLOW_WEB);
    writeIdentityFiles(join(dir, "orders"), ca.issue({ spiffeId: ORDERS }), ca);
    const sidecar = processes.run(join(dir, "orders.yaml"));
    await sidecar.next("ready");
    expect(statSync(socket).mode & 0o777).toBe(0o666);
    const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => ask(socket, `/${i}`)));
    expect(new Set(answers.map(({ headers }) => String(headers["x-countersign-id"]).split("-")[0])).size).toBe(2);
    sidecar.signal("SIGTERM");
    expect((await sidecar.ended).code).toBe(0);
    expect(existsSync(socket)).toBe(false);
    const callers = finalRecords(audit("orders")).map((record) =>
      JSON.stringify(record).includes(`"local":{"uid":${uid},`),
    );
    expect(callers).toEqual(answers.map(() => true));
  });

  it("puts a policy in force in all of them before the log says so, on open connections too", async () => {
    const { sidecar, port } = await orders(await options(hello, "workers: 2"));
    const clients = await connectEverywhere(port);
    const before = await Promise.all(clients.map((client) => call(client, "GET /before")));
    expect(before.every((text) => text.endsWith("hello"))).toBe(true);
    writeFileSync(
      join(dir, "policies.yaml"),
      `${ALLOW_WEB}---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-after, namespace: shop }
spec: { action: DENY, rules: [{ to: [{ operation: { paths: [/after] } }] }] }
`,
    );
    const { version } = await sidecar.next("policy.loaded");
    const after = await Promise.all(clients.map((client) => call(client, "GET /after")));
    expect(after.filter((text) => !text.includes("E_POLICY_DENIED_BY_RULE"))).toEqual([]);
    expect((await status("orders")).workers.map(({ policyVersion }) => policyVersion)).toEqual([version, version]);
  });

  it("keeps the policies in force everywhere when the new ones are broken", async () => {
    const { sidecar, port } = await orders(await options(hello, "workers: 2"));
    const { version } = (await status("orders")).policy;
    writeFileSync(join(dir, "policies.yaml"), `${ALLOW_WEB}---\nkind: AuthorizationPolicy\n`);
    await sidecar.next("policy.rejected");
    const { ready, workers } = await status("orders");
    expect({ ready, versions: workers.map(({ policyVersion }) => policyVersion) }).toEqual({
      ready: true,
      versions: [version, version],
    });
    expect(await call(await tlsClient(port, svid), "GET /still")).toContain("hello");
  });

  it("brings a rotated SVID to all of them", async () => {
    const { sidecar, port } = await orders(await options(hello, "workers: 2"));
    await connectEverywhere(port);
    writeIdentityFiles(join(dir, "orders"), ca.issue({ spiffeId: `${ORDERS}` }), ca);
    const { serial } = await sidecar.next("identity.rotated");
    // the answer of a worker comes after what it was sent before
    await status("orders");
    const clients = await connectEverywhere(port);
    await Promise.all(clients.map((client) => call(client, "GET /rotated")));
    const metrics = (await page("orders", "metrics", "/metrics")).body;
    expect(metrics).toContain(`countersign_svid_connections{svid="current"} ${clients.length}`);
    expect(serial).toEqual(expect.any(String));
  });

  it("takes a changed configuration whole: a listener more, or none at all when an address is taken", async () => {
    const given = await options(hello, "workers: 2");
    const { sidecar, port } = await orders(given);
    const yaml = ordersYaml(given);
    const second = (listen: string): string =>
      yaml.replace(
        "inbound:\n",
        `inbound:\n  - { name: second, listen: "${listen}", app: "127.0.0.1:${given.appPort}", protocol: http }\n`,
      );
    const client = await tlsClient(port, svid);
    await call(client, "GET /first");
    const socket = join(dir, "second.sock");
    writeFileSync(join(dir, "orders.yaml"), second(`unix://${socket}`));
    await sidecar.next("config.loaded");
    const both = await status("orders");
    expect(both.listeners.map(({ name }) => name)).toEqual(["second", "in"]);
    expect(await call(client, "GET /kept")).toContain("hello");

    const taken = (await options(hello, "")).appPort;
    writeFileSync(join(dir, "orders.yaml"), second(`127.0.0.1:${taken}`));
    expect(JSON.stringify((await sidecar.next("config.rejected"))["errors"])).toContain("E_LISTEN");
    expect((await status("orders")).listeners.map(({ name }) => name)).toEqual(["second", "in"]);
    writeFileSync(join(dir, "orders.yaml"), `${yaml.replace("workers: 2", "workers: 3")}`);
    expect(JSON.stringify((await sidecar.next("config.rejected"))["errors"])).toContain("E_CONFIG_RESTART workers");
  });

  it("counts a listener's connections over all of them against its limit", async () => {
    const { port } = await orders(await options(hello, "workers: 3\nlimits: { connections: 9 }"));
    const clients: RawClient[] = [];
    for (let i = 0; i < 9; i++) clients.push(await tlsClient(port, svid));
    const beyond = await tlsClient(port, svid);
    beyond.send("GET /beyond HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(await beyond.until((text) => text.includes("E_CONNECTION_LIMIT"))).toContain(" 503 ");
    await Promise.all(clients.map((client) => call(client, "GET /within")));
  });

  it("lets the calls in flight of all workers end on SIGTERM, and exits 0", async () => {
    const waiting: ServerResponse[] = [];
    const { sidecar, port } = await orders(
      await options((_, response) => {
        response.write("first ");
        waiting.push(response);
      }, "workers: 2"),
    );
    const clients = await connectEverywhere(port);
    for (const client of clients) client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    await Promise.all(clients.map((client) => client.until((text) => text.includes("first "))));
    sidecar.signal("SIGTERM");
    await sidecar.next("draining");
    const ready = await page("orders", "health", "/readyz");
    expect(JSON.parse(ready.body)).toMatchObject({ ready: false, reasons: [{ code: "E_DRAINING" }] });
    for (const response of waiting) response.end("last");
    await Promise.all(clients.map((client) => client.until((text) => text.includes("last\r\n0\r\n\r\n"))));
    expect((await sidecar.next("stopped"))["cut"]).toBe(0);
    expect((await sidecar.ended).code).toBe(0);
    expect(finalRecords(audit("orders"))).toHaveLength(clients.length);
    expectOneOrder(audit("orders"));
  });

  it("ends with 1 when the drain deadline cut calls, each of which has its record", async () => {
    const { sidecar, port } = await orders(
      await options((_, response) => void response.write("first "), "workers: 2\ndrain: { timeout: 100ms }"),
    );
    const clients = await connectEverywhere(port);
    for (const client of clients) client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    await Promise.all(clients.map((client) => client.until((text) => text.includes("first "))));
    sidecar.signal("SIGTERM");
    expect((await sidecar.next("stopped"))["cut"]).toBe(clients.length);
    expect((await sidecar.ended).code).toBe(1);
    const cut = finalRecords(audit("orders"));
    expect(cut.map(({ reason }) => reason)).toEqual(clients.map(() => "E_DRAIN_CUT"));
  });

  it("has the record of every call that was answered a moment before kill -9, and goes on numbering", async () => {
    const { sidecar, port } = await orders(await options(hello, "workers: 2"));
    const clients = await connectEverywhere(port);
    await Promise.all(clients.map((client, i) => call(client, `GET /call/${i}`)));
    const last = await tlsClient(port, svid);
    await call(last, "GET /last");
    // each thread hands its records over by itself: one that is written says nothing about another's
    const paths = [...clients.map((_, i) => `/call/${i}`), "/last"];
    for (const wanted of paths) await auditRecord(audit("orders"), ({ path }) => path === wanted);
    sidecar.signal("SIGKILL");
    await sidecar.ended;
    const again = processes.run(join(dir, "orders.yaml"));
    await again.next("ready");
    again.signal("SIGTERM");
    expect((await again.ended).code).toBe(0);
    expect(finalRecords(audit("orders"))).toHaveLength(clients.length + 1);
    expectOneOrder(audit("orders"));
  });

  it("a worker that hangs makes it not ready; calls go to the others, and SIGTERM ends it in time, with 1", async () => {
    const given = await options(hello, "workers: 2\ndrain: { timeout: 100ms }");
    const { sidecar, port } = await withFault("for (;;);", () => orders(given));
    await connectEverywhere(port);
    writeFileSync(join(dir, "fault"), "");
    await eventually(async () => (await page("orders", "health", "/readyz")).body.includes("E_WORKER_SILENT"));
    expect(await call(await tlsClient(port, svid), "GET /other")).toContain("hello");
    sidecar.signal("SIGTERM");
    expect((await sidecar.ended).code).toBe(1);
    expect(finalRecords(audit("orders")).map(({ path }) => path)).toEqual(["/other"]);
  });

  it("a worker that throws is recorded with what it lost; the others end their calls, and the process ends with 1", async () => {
    const waiting: ServerResponse[] = [];
    const given = await options((request, response) => {
      if (request.url === "/quick") return hello(request, response);
      response.write("first ");
      waiting.push(response);
    }, "workers: 2");
    const { sidecar, port } = await withFault('throw new Error("made on purpose");', () => orders(given));
    const clients = await connectEverywhere(port);
    for (const client of clients) client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    await Promise.all(clients.map((client) => client.until((text) => text.includes("first "))));
    const { workers } = await status("orders");
    const quick = await Promise.all(Array.from({ length: 8 }, () => tlsClient(port, svid)));
    await Promise.all(quick.map((client) => call(client, "GET /quick")));
    writeFileSync(join(dir, "fault"), "");
    const lost = await sidecar.next("worker.lost");
    const ofLost = workers.find(({ worker }) => worker === lost["worker"])?.calls;
    expect(lost["records"]).toBe(ofLost);
    for (const response of waiting) response.end("last");
    expect((await sidecar.next("stopped"))["cut"]).toBe(ofLost);
    expect((await sidecar.ended).code).toBe(1);
    const record = await auditRecord(audit("orders"), ({ reason }) => reason === "E_WORKER_LOST");
    expect(record).toMatchObject({ kind: "lifecycle", count: ofLost });
    const records = finalRecords(audit("orders"));
    expect(records.filter(({ path }) => path === "/quick")).toHaveLength(quick.length);
    expect(records).toHaveLength(quick.length + clients.length - (ofLost ?? 0));
    expectOneOrder(audit("orders"));
  });
});

/** Looks again and again: nothing tells when a health page changes its mind. */
async function eventually(fits: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await fits()); tries++) {
    if (tries > 50) throw new Error("it did not come");
    await delay(20);
  }
}

/** The first worker of the processes begun meanwhile runs `fault` once there is a file of that name. */
async function withFault<T>(fault: string, begin: () => Promise<T>): Promise<T> {
  const file = join(dir, "fault.mjs");
  writeFileSync(
    file,
    `import { existsSync } from "node:fs";
import { isMainThread, threadId } from "node:worker_threads";
if (!isMainThread && threadId === 1)
  setInterval(() => { if (existsSync(${JSON.stringify(join(dir, "fault"))})) { ${fault} } }, 10).unref();
`,
  );
  const before = process.env["NODE_OPTIONS"];
  process.env["NODE_OPTIONS"] = `--import=${file}`;
  try {
    return await begin();
  } finally {
    if (before === undefined) delete process.env["NODE_OPTIONS"];
    else process.env["NODE_OPTIONS"] = before;
  }
}
