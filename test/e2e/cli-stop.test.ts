import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { finalRecords } from "../support/audit-records.ts";
import { type CountersignProcesses, countersignProcesses } from "../support/countersign-process.ts";
import { rawClient } from "../support/raw-client.ts";
import { type SidecarPair, startPair } from "../support/sidecar-pair.ts";

let dir: string;
let processes: CountersignProcesses;
let cleanups: (() => Promise<void>)[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "countersign-stop-"));
  processes = countersignProcesses();
  cleanups = [];
});
afterEach(async () => {
  await processes.close();
  for (const cleanup of cleanups) await cleanup();
  rmSync(dir, { recursive: true });
});

async function pair(handler: Parameters<typeof startApp>[0], more?: string): Promise<SidecarPair> {
  const app = await startApp(handler);
  cleanups.push(() => app.close());
  return startPair({ dir, processes, appPort: app.port, ...(more === undefined ? {} : { more }) });
}

const auditFile = (): string => join(dir, "orders.jsonl");

describe("SIGTERM", () => {
  it("makes it not ready, lets the call in flight end, and exits 0", async () => {
    let finish = (): void => undefined;
    const { orders, port } = await pair((_, response) => {
      response.write("first ");
      finish = () => response.end("last");
    });
    const client = await rawClient(port);
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.until((text) => text.includes("first "));
    orders.signal("SIGTERM");
    await orders.next("draining");
    const ready = await ask(join(dir, "orders-health.sock"), "/readyz");
    expect(ready.status).toBe(503);
    expect(JSON.parse(ready.body)).toMatchObject({ ready: false, reasons: [{ code: "E_DRAINING" }] });
    finish();
    await client.until((text) => text.includes("last\r\n0\r\n\r\n"));
    expect((await orders.next("stopped"))["cut"]).toBe(0);
    expect((await orders.ended).code).toBe(0);
    expect(finalRecords(auditFile())).toMatchObject([{ path: "/slow", decision: "allow", status: 200 }]);
  });

  it("ends with 1 when the drain deadline cut a call, which has its record", async () => {
    const { orders, port } = await pair((_, response) => void response.write("first "), "drain: { timeout: 100ms }");
    const client = await rawClient(port);
    client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.until((text) => text.includes("first "));
    orders.signal("SIGTERM");
    expect((await orders.ended).code).toBe(1);
    await client.closed();
    expect(finalRecords(auditFile())).toMatchObject([{ path: "/endless", close: "E_DRAIN_CUT" }]);
  });

  it("is obeyed, and what is lost is said, also while no audit record can be written", async () => {
    const file = join(dir, "countersign.yaml");
    writeFileSync(
      file,
      `identity: { workloadApi: { address: "unix://${dir}/agent.sock" } }
audit: { sinks: [{ file: { path: not-there/audit.jsonl } }] }
`,
    );
    const sidecar = processes.run(file);
    await sidecar.next("audit.sink_failed");
    await sidecar.next("policy.loaded");
    sidecar.signal("SIGTERM");
    expect((await sidecar.next("audit.lost"))["records"]).toBeGreaterThan(0);
    const { code, stderr } = await sidecar.ended;
    expect(code).toBe(0);
    expect(stderr).not.toContain("unsettled");
  });
});
