import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApp, type TestApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { createTestCa, type TestCa } from "../support/cert-factory.ts";
import { ALLOW_WEB, ORDERS, startTestSidecar, type TestSidecar, TRUST_DOMAIN, WEB } from "../support/mesh.ts";

let dir: string;
let ca: TestCa;
let app: TestApp;
let orders: TestSidecar;
let cleanups: (() => Promise<unknown>)[];
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "countersign-callers-"));
  ca = createTestCa(TRUST_DOMAIN);
  app = await startApp((_, response) => response.end("hello"));
  cleanups = [() => app.close()];
  orders = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: ORDERS }),
    policies: ALLOW_WEB,
    config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", protocol: http }]`,
  });
  cleanups.push(() => orders.sidecar.drain(0));
});
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
  rmSync(dir, { recursive: true });
});

const ownUid = process.getuid?.() ?? -1;
const NOBODY_HERE = 99_999;

/** Web's sidecar, whose listener `out` leads to orders. `keys` are more of that listener's. */
async function startWeb(listen: string, keys: string): Promise<TestSidecar> {
  const web = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: WEB }),
    config: `outbound:
  - { name: out, listen: "${listen}", to: ["127.0.0.1:${orders.port("in")}"], identity: "${ORDERS}", protocol: http, ${keys} }`,
  });
  cleanups.push(() => web.sidecar.drain(0));
  return web;
}

describe.runIf(process.platform === "linux")("allow.uids", () => {
  /** The two ways in, and what the kernel says about a caller on each. */
  const ways = [
    { way: "TCP", listen: () => "127.0.0.1:0", pid: undefined },
    { way: "a Unix socket", listen: () => `unix://${join(dir, "out.sock")}`, pid: process.pid },
  ] as const;
  const addressOf = (web: TestSidecar, way: string): number | string =>
    way === "TCP" ? web.port("out") : join(dir, "out.sock");

  it.each(ways)("lets a listed user call over $way and names it in the record", async ({ way, listen, pid }) => {
    const web = await startWeb(listen(), `allow: { uids: [${ownUid}, ${NOBODY_HERE}] }`);
    expect(await ask(addressOf(web, way), "/mine")).toMatchObject({ status: 200, body: "hello" });
    const record = await web.audit.next(() => true);
    expect(record).toMatchObject({ kind: "request", decision: "allow", path: "/mine" });
    expect(record.connection).toMatchObject({ sourceUid: ownUid, sourcePid: pid });
  });

  it.each(ways)("refuses another user over $way before a byte is read, with a record", async ({ way, listen, pid }) => {
    const web = await startWeb(listen(), `allow: { uids: [${NOBODY_HERE}] }`);
    await expect(ask(addressOf(web, way), "/theirs")).rejects.toThrow(/socket hang up|ECONNRESET|EPIPE/);
    const record = await web.audit.next(() => true);
    expect(record).toMatchObject({ kind: "refusal", decision: "deny", reason: "E_CALLER_UID" });
    expect(record.detail).toContain(String(ownUid));
    expect(record.connection).toMatchObject({ listener: "out", sourceUid: ownUid, sourcePid: pid });
    expect(app.requests).toEqual([]);
  });

  it.runIf(ownUid === 0)("asks about the caller, not about the sidecar's own user", async () => {
    const web = await startWeb("127.0.0.1:0", "allow: { uids: [12345] }");
    const script = `fetch("http://127.0.0.1:${web.port("out")}/other").then(({ status }) => process.exit(status - 200))`;
    const child = spawn(process.execPath, ["-e", script], { uid: 12_345, gid: 12_345, cwd: "/", stdio: "ignore" });
    expect(await new Promise((resolve) => child.once("exit", resolve))).toBe(0);
    expect((await web.audit.next(() => true)).connection.sourceUid).toBe(12_345);
    await expect(ask(web.port("out"), "/root")).rejects.toThrow(/socket hang up|ECONNRESET|EPIPE/);
  });

  it("names the caller over TCP also where anybody may call", async () => {
    const web = await startWeb("127.0.0.1:0", "browser: refuse");
    expect((await ask(web.port("out"), "/")).status).toBe(200);
    const { connection } = await web.audit.next(() => true);
    expect(connection).toMatchObject({ sourceUid: ownUid, sourcePid: undefined });
  });

  it("names the caller of a Unix socket also where anybody may call", async () => {
    const web = await startWeb(`unix://${join(dir, "out.sock")}`, "browser: refuse");
    expect((await ask(join(dir, "out.sock"), "/")).status).toBe(200);
    const { connection } = await web.audit.next(() => true);
    expect(connection).toMatchObject({ sourceAddress: "unix", sourceUid: ownUid, sourcePid: process.pid });
  });
});
