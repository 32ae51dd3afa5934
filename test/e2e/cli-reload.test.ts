import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { auditRecord } from "../support/audit-records.ts";
import { createTestCa, type TestIssued } from "../support/cert-factory.ts";
import {
  type CountersignProcesses,
  countersignProcesses,
  type SidecarProcess,
} from "../support/countersign-process.ts";
import { ALLOW_WEB, TRUST_DOMAIN, WEB } from "../support/mesh.ts";
import type { RawClient } from "../support/raw-client.ts";
import { ordersYaml, startOrders } from "../support/sidecar-pair.ts";
import { tlsClient } from "../support/tls-client.ts";

let dir: string;
let processes: CountersignProcesses;
let closeApp: () => Promise<void>;
let orders: SidecarProcess;
let port: number;
let svid: TestIssued;
let appPort: number;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "countersign-reload-"));
  processes = countersignProcesses();
  const app = await startApp((_, response) => response.end("hello"));
  closeApp = () => app.close();
  appPort = app.port;
  const ca = createTestCa(TRUST_DOMAIN);
  svid = ca.issue({ spiffeId: WEB });
  orders = startOrders({ dir, processes, appPort }, ca);
  port = await orders.port("in");
  await orders.next("ready");
  await orders.next("policy.loaded");
  // an answer of its event loop: by now it listens for SIGHUP, too
  await status();
});
afterEach(async () => {
  await processes.close();
  await closeApp();
  rmSync(dir, { recursive: true });
});

const DENY_DELETE = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-delete, namespace: shop }
spec: { action: DENY, rules: [{ to: [{ operation: { methods: [DELETE] } }] }] }
`;
const BROKEN = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: broken, namespace: shop }
spec: { rules: [{ from: [{ source: { principal: [x] } }] }, { to: [{ operation: { method: [GET] } }] }] }
`;

const writePolicies = (text: string): void => writeFileSync(join(dir, "policies.yaml"), text);
const writeConfig = (text: string): void => writeFileSync(join(dir, "orders.yaml"), text);

interface Status {
  readonly ready: boolean;
  readonly reloadProblems: readonly { readonly code: string; readonly message: string }[];
  readonly policy: { readonly version: string; readonly policies: number };
  readonly listeners: readonly { readonly name: string }[];
}
const adminSocket = (): string => join(dir, "orders-admin.sock");
const status = async (): Promise<Status> => JSON.parse((await ask(adminSocket(), "/status")).body) as Status;
/** What people see; its exit code is about readiness alone. */
async function statusText(): Promise<string> {
  const { code, stdout } = await processes.command("status", "--admin", adminSocket());
  expect(code).toBe(0);
  return stdout;
}
const codesOf = ({ reloadProblems }: Status): string[] => reloadProblems.map(({ code }) => code);

/** A connection of web that has carried a call. */
async function openConnection(): Promise<RawClient> {
  const client = await tlsClient(port, svid);
  client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.until((text) => text.endsWith("hello"));
  return client;
}
const remove = (client: RawClient): Promise<string> => {
  client.send("DELETE /second HTTP/1.1\r\nHost: a\r\n\r\n");
  return client.until((text) => text.slice(text.indexOf("hello")).includes("\r\n\r\n"));
};

describe("a changed policy file", () => {
  it("is in force on open connections once the log says so, without a signal", async () => {
    const client = await openConnection();
    writePolicies(ALLOW_WEB + DENY_DELETE);
    expect(await orders.next("policy.loaded")).toMatchObject({ policies: 2, rules: 2 });
    expect(await remove(client)).toContain("E_POLICY_DENIED_BY_RULE");
    const record = await auditRecord(join(dir, "orders.jsonl"), ({ path }) => path === "/second");
    expect(record).toMatchObject({ decision: "deny", rule: "ns[shop]-policy[no-delete]-rule[0]" });
  });

  it("that is broken is rejected with all its errors; the old one stays, and status says so until it is mended", async () => {
    const { version } = (await status()).policy;
    writePolicies(BROKEN);
    const rejected = (await orders.next("policy.rejected"))["errors"] as string[];
    expect(rejected).toEqual([
      expect.stringMatching(/policies\.yaml:4:38: E_POLICY_\w+ .*"principal".*; fix: /),
      expect.stringMatching(/policies\.yaml:4:83: E_POLICY_\w+ .*"method".*; fix: /),
    ]);
    await openConnection();
    const failed = await status();
    expect(failed).toMatchObject({ ready: true, policy: { version } });
    expect(failed.reloadProblems).toHaveLength(2);
    expect(await statusText()).toMatch(
      /^reload +failed; the last good state serves\n +E_POLICY_UNKNOWN_KEY .*"principal"/m,
    );
    await auditRecord(join(dir, "orders.jsonl"), ({ reason }) => reason === "policy.rejected");
    writePolicies(ALLOW_WEB + DENY_DELETE);
    await orders.next("policy.loaded");
    expect(await statusText()).not.toMatch(/^reload/m);
  });
});

describe("SIGHUP", () => {
  it("brings configuration and policies into force; a listener that did not change keeps its connections", async () => {
    const client = await openConnection();
    writePolicies(ALLOW_WEB + DENY_DELETE);
    writeConfig(
      ordersYaml({ dir, processes, appPort }).replace(
        "inbound:\n",
        `inbound:\n  - { name: second, listen: "127.0.0.1:0", app: "127.0.0.1:${appPort}", protocol: http }\n`,
      ),
    );
    orders.signal("SIGHUP");
    await orders.next("reload");
    await orders.next("config.loaded");
    expect(await orders.port("second")).toBeGreaterThan(0);
    expect(await remove(client)).toContain("E_POLICY_DENIED_BY_RULE");
    await openConnection();
    expect((await status()).listeners.map(({ name }) => name).toSorted()).toEqual(["in", "second"]);
  });

  it("with broken policies leaves nothing behind once they are mended", async () => {
    writePolicies(BROKEN);
    orders.signal("SIGHUP");
    await orders.next("policy.rejected");
    expect(codesOf(await status())).toHaveLength(2);
    writePolicies(ALLOW_WEB);
    await orders.next("policy.loaded");
    expect(codesOf(await status())).toEqual([]);
  });
});

describe("a changed configuration", () => {
  it("that is broken is rejected with all its errors, changes nothing, and status says so until it is mended", async () => {
    const good = ordersYaml({ dir, processes, appPort });
    writeConfig(`${good.replace("protocol: http", "protocol: htp")}xff: append\n`);
    const rejected = (await orders.next("config.rejected"))["errors"] as string[];
    expect(rejected).toEqual([
      expect.stringMatching(/orders\.yaml:\d+:\d+: E_CONFIG_VALUE .*; fix: did you mean "http"/),
      expect.stringMatching(/orders\.yaml:\d+:\d+: E_CONFIG_UNSUPPORTED xff .*; fix: /),
    ]);
    await openConnection();
    expect(codesOf(await status())).toEqual(["E_CONFIG_VALUE", "E_CONFIG_UNSUPPORTED"]);
    // good policies don't mend a broken configuration
    writePolicies(ALLOW_WEB + DENY_DELETE);
    await orders.next("policy.loaded");
    expect(codesOf(await status())).toEqual(["E_CONFIG_VALUE", "E_CONFIG_UNSUPPORTED"]);
    const metrics = (await ask(join(dir, "orders-metrics.sock"), "/metrics")).body;
    expect(metrics).toContain('countersign_reload_failures_total{what="config"} 1');
    writeConfig(good);
    await orders.next("config.loaded");
    expect(codesOf(await status())).toEqual([]);
  });

  it("whose policies are broken is taken once these are mended", async () => {
    writePolicies(BROKEN);
    writeConfig(ordersYaml({ dir, processes, appPort }).replace("{ name: in,", "{ name: other,"));
    orders.signal("SIGHUP");
    await orders.next("config.rejected");
    expect((await status()).listeners.map(({ name }) => name)).toEqual(["in"]);
    writePolicies(ALLOW_WEB);
    await orders.next("config.loaded");
    expect((await status()).listeners.map(({ name }) => name)).toEqual(["other"]);
    expect(codesOf(await status())).toEqual([]);
  });

  it("that only a restart can make is refused whole", async () => {
    const moved = ordersYaml({ dir, processes, appPort })
      .replace("orders-admin.sock", "elsewhere.sock")
      .replace("{ name: in,", "{ name: other,");
    writeConfig(moved);
    const [problem] = (await orders.next("config.rejected"))["errors"] as string[];
    expect(problem).toMatch(/E_CONFIG_RESTART admin /);
    await openConnection();
    expect((await status()).listeners.map(({ name }) => name)).toEqual(["in"]);
  });
});
