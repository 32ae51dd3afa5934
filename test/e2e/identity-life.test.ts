// How identity ends: with the agent gone, with a bundle removed, with a revocation; by the real program and the real clock.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { startApp } from "../support/app.ts";
import { createTestCa, type TestCa, type TestIssued } from "../support/cert-factory.ts";
import {
  type CountersignProcesses,
  countersignProcesses,
  type SidecarProcess,
} from "../support/countersign-process.ts";
import { ORDERS, TRUST_DOMAIN, WEB } from "../support/mesh.ts";
import type { RawClient } from "../support/raw-client.ts";
import { type AgentCall, type ScriptedAgent, startScriptedAgent, svidMessage } from "../support/scripted-agent.ts";
import { tlsClient } from "../support/tls-client.ts";

let dir = "";
let ca: TestCa;
let partner: TestCa;
let agent: ScriptedAgent;
let processes: CountersignProcesses;
let orders: SidecarProcess;
let app: Awaited<ReturnType<typeof startApp>>;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "countersign-identity-life-"));
  ca = createTestCa(TRUST_DOMAIN);
  partner = createTestCa("partner.org");
  agent = await startScriptedAgent(join(dir, "agent.sock"));
  app = await startApp((request, response) => void request.resume().once("end", () => response.end("ok")));
  processes = countersignProcesses();
  writeFileSync(
    join(dir, "c.yaml"),
    `identity: { workloadApi: { address: "unix://${dir}/agent.sock" } }
audit: { sinks: [{ file: { path: audit.jsonl } }] }
authorization: { default: allow }
inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", protocol: http }]
`,
  );
  orders = processes.run(join(dir, "c.yaml"));
});
afterEach(async () => {
  await processes.close();
  await app.close();
  agent.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** Certificates count in whole seconds. */
const secondsFromNow = (seconds: number): number => (Math.floor(Date.now() / 1000) + seconds) * 1000;

async function serveFirst(issued: TestIssued): Promise<AgentCall> {
  const call = await agent.nextCall();
  call.send({ svids: [svidMessage(issued, ca)], federatedBundles: { "spiffe://partner.org": partner.der } });
  await orders.next("ready");
  return call;
}
async function connectAs(issued: TestIssued): Promise<RawClient> {
  return tlsClient(await orders.port("in"), issued);
}
/** One call over an open connection. */
async function callOn(client: RawClient): Promise<void> {
  const before = client.received.length;
  client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.until((received) => received.slice(before).endsWith("ok"));
}
/** Whether a call over a new connection is answered by the app. */
async function works(issued: TestIssued): Promise<boolean> {
  try {
    const client = await connectAs(issued);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    return (await client.closed()).endsWith("ok");
  } catch {
    return false;
  }
}

it("with the agent gone, calls go on until the SVID expires, then fail closed within a second; it returns, and within two all is well", async () => {
  const web = ca.issue({ spiffeId: WEB });
  const notAfter = secondsFromNow(6);
  await serveFirst(ca.issue({ spiffeId: ORDERS, notAfter }));
  agent.stop();
  const open = await connectAs(web);
  open.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"); // a call that is under way at the end
  let openEndedMs = Number.POSITIVE_INFINITY;
  void open.closed().then(() => {
    openEndedMs = Date.now();
  });
  let lastGoodMs = 0;
  let firstBadMs = Number.POSITIVE_INFINITY;
  while (Date.now() < notAfter + 1500) {
    const startedMs = Date.now();
    if (await works(web)) lastGoodMs = startedMs;
    else firstBadMs = Math.min(firstBadMs, startedMs);
    await delay(50);
  }
  expect(firstBadMs).toBeGreaterThan(notAfter - 100);
  expect(lastGoodMs).toBeLessThan(notAfter + 1000);
  expect(openEndedMs).toBeGreaterThan(notAfter - 100);
  expect(openEndedMs).toBeLessThan(notAfter + 1000);
  await orders.next("not-ready");

  const returnedMs = Date.now();
  agent = await startScriptedAgent(join(dir, "agent.sock"));
  await serveFirst(ca.issue({ spiffeId: ORDERS }));
  expect(Date.now() - returnedMs).toBeLessThan(2000);
  expect(await works(web)).toBe(true);
});

it("a connection that its peer's SVID opened is cut when that expires", async () => {
  await serveFirst(ca.issue({ spiffeId: ORDERS }));
  const notAfter = secondsFromNow(3);
  const client = await connectAs(ca.issue({ spiffeId: WEB, notAfter }));
  client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
  await client.closed();
  expect(Date.now()).toBeGreaterThan(notAfter - 100);
  expect(Date.now()).toBeLessThan(notAfter + 1000);
});

it.each<[string, (web: TestIssued) => Parameters<AgentCall["send"]>[0]]>([
  ["a revocation", (web) => ({ crl: [partner.crl({ serials: [web.certificate.serialNumber] })] })],
  ["a bundle that is removed", () => ({ federatedBundles: {} })],
  ["a bundle that is emptied", () => ({ federatedBundles: { "spiffe://partner.org": Buffer.alloc(0) } })],
  [
    "a bundle with another authority",
    () => ({ federatedBundles: { "spiffe://partner.org": createTestCa("partner.org", { commonName: "next" }).der } }),
  ],
])("%s ends open connections within a second, and leaves the others", async (_what, change) => {
  const ours = ca.issue({ spiffeId: ORDERS });
  const call = await serveFirst(ours);
  const theirs = partner.issue({ spiffeId: "spiffe://partner.org/web" });
  const [idle, busy, other] = await Promise.all([
    connectAs(theirs),
    connectAs(theirs),
    connectAs(ca.issue({ spiffeId: WEB })),
  ]);
  await Promise.all([callOn(idle), callOn(other)]);
  busy.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
  const startedMs = Date.now();
  call.send({
    svids: [svidMessage(ours, ca)],
    federatedBundles: { "spiffe://partner.org": partner.der },
    ...change(theirs),
  });
  await Promise.all([idle.closed(), busy.closed()]);
  expect(Date.now() - startedMs).toBeLessThan(1000);
  await callOn(other);
  expect(await works(theirs)).toBe(false);
});
