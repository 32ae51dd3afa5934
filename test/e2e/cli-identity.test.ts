import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApp } from "../support/app.ts";
import { type Answer, ask } from "../support/ask.ts";
import { auditRecord } from "../support/audit-records.ts";
import { createTestCa, type TestCa, type TestIssued } from "../support/cert-factory.ts";
import {
  type CountersignProcesses,
  countersignProcesses,
  type SidecarProcess,
} from "../support/countersign-process.ts";
import { ALLOW_WEB, ORDERS, startTestSidecar, TRUST_DOMAIN, WEB } from "../support/mesh.ts";
import { startScriptedAgent, svidMessage } from "../support/scripted-agent.ts";
import { operations } from "../support/sidecar-pair.ts";

let dir: string;
let processes: CountersignProcesses;
let cleanups: (() => unknown)[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "countersign-identity-"));
  processes = countersignProcesses();
  cleanups = [];
});
afterEach(async () => {
  await processes.close();
  for (const cleanup of cleanups.reverse()) await cleanup();
  rmSync(dir, { recursive: true });
});

/** Orders' sidecar with its app, in this process: whom web calls. Returns its port. */
async function startOrders(ca: TestCa): Promise<number> {
  const app = await startApp((_, response) => response.end("hello"));
  cleanups.push(() => app.close());
  const orders = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: ORDERS }),
    policies: ALLOW_WEB,
    config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", protocol: http }]`,
  });
  cleanups.push(() => orders.sidecar.drain(0));
  return orders.port("in");
}

/** Web's sidecar as a process; its identity comes from an agent at `socket`. */
function startWeb(socket: string, to: number): SidecarProcess {
  const file = join(dir, "web.yaml");
  writeFileSync(
    file,
    `${operations(dir, "web")}
identity: { workloadApi: { address: "unix://${socket}" } }
inbound:
  - { name: in, listen: "127.0.0.1:0", app: "127.0.0.1:9", protocol: http, mtls: strict }
outbound:
  - { name: out, listen: "127.0.0.1:0", to: ["127.0.0.1:${to}"], identity: "${ORDERS}", protocol: http }
`,
  );
  return processes.run(file);
}

const readyz = async (): Promise<{ status: number; codes: string[]; text: string }> => {
  const { status, body } = await ask(join(dir, "web-health.sock"), "/readyz");
  const { reasons } = JSON.parse(body) as { reasons: { code: string }[] };
  return { status, codes: reasons.map(({ code }) => code), text: body };
};
const codeOf = ({ headers }: Answer): unknown => headers["x-countersign-code"];
const webSvid = (ca: TestCa, lifeMs = 3_600_000): TestIssued =>
  ca.issue({ spiffeId: WEB, notAfter: Date.now() + lifeMs });

describe("without an agent at the start", () => {
  it("the sidecar stays up, says why it is not ready, and serves once the agent is there", async () => {
    const ca = createTestCa(TRUST_DOMAIN);
    const socket = join(dir, "agent.sock");
    const web = startWeb(socket, await startOrders(ca));
    expect(await web.next("identity.problem")).toMatchObject({ code: "E_WORKLOAD_API_UNAVAILABLE" });
    expect(await web.next("identity.waiting")).toMatchObject({ source: `workload-api unix://${socket}` });
    const port = await web.port("out");
    expect((await ask(join(dir, "web-health.sock"), "/livez")).status).toBe(200);
    const before = await readyz();
    expect(before).toMatchObject({ status: 503, codes: ["E_WORKLOAD_API_UNAVAILABLE"] });
    expect(before.text).toContain(socket);
    const refused = await ask(port, "/early");
    expect([refused.status, codeOf(refused)]).toEqual([503, "E_IDENTITY_NONE"]);
    const handshake = connectTls({ port: await web.port("in"), host: "127.0.0.1", rejectUnauthorized: false });
    await expect(once(handshake, "secureConnect")).rejects.toThrow();
    await auditRecord(join(dir, "web.jsonl"), ({ kind, reason }) => kind === "refusal" && reason === "E_IDENTITY_NONE");
    const record = await auditRecord(join(dir, "web.jsonl"), ({ path }) => path === "/early");
    expect(record).toMatchObject({ decision: "error", reason: "E_IDENTITY_NONE", status: 503 });
    const status = await processes.command("status", "-c", join(dir, "web.yaml"));
    expect([status.code, status.stdout]).toEqual([1, expect.stringContaining("E_WORKLOAD_API_UNAVAILABLE")]);

    const agent = await startScriptedAgent(socket);
    cleanups.push(() => agent.stop());
    (await agent.nextCall()).send({ svids: [svidMessage(webSvid(ca), ca)] });
    await web.next("ready");
    expect(await readyz()).toMatchObject({ status: 200, codes: [] });
    expect(await ask(port, "/")).toMatchObject({ status: 200, body: "hello" });
  });
});

describe("an agent that is gone later", () => {
  it("leaves the last SVID serving until it expires; then calls fail closed until there is a new one", async () => {
    const ca = createTestCa(TRUST_DOMAIN);
    const socket = join(dir, "agent.sock");
    const agent = await startScriptedAgent(socket);
    cleanups.push(() => agent.stop());
    const web = startWeb(socket, await startOrders(ca));
    const call = await agent.nextCall();
    await web.next("policy.loaded");
    // the life begins when all is up; the seconds are for one call before and one after the agent ends
    call.send({ svids: [svidMessage(webSvid(ca, 6000), ca)] });
    await web.next("ready");
    const port = await web.port("out");
    expect((await ask(port, "/fresh")).status).toBe(200);
    agent.stop();
    await web.next("identity.problem");
    expect((await ask(port, "/stale")).status).toBe(200);
    expect((await readyz()).status).toBe(200);

    expect(JSON.stringify((await web.next("not-ready"))["reasons"])).toContain("E_IDENTITY_EXPIRED");
    const refused = await ask(port, "/late");
    expect([refused.status, codeOf(refused)]).toEqual([503, "E_IDENTITY_EXPIRED"]);
    expect(await readyz()).toMatchObject({ status: 503, codes: ["E_IDENTITY_EXPIRED"] });
    const record = await auditRecord(join(dir, "web.jsonl"), ({ path }) => path === "/late");
    expect(record).toMatchObject({ decision: "error", reason: "E_IDENTITY_EXPIRED" });

    const next = await startScriptedAgent(socket);
    cleanups.push(() => next.stop());
    (await next.nextCall()).send({ svids: [svidMessage(webSvid(ca), ca)] });
    await web.next("ready");
    expect((await ask(port, "/again")).status).toBe(200);
  });
});
