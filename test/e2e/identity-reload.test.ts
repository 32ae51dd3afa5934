// The identity source, and the pages of operations, changed by reload: nothing restarts, and the old one serves until the
// new one can.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApp } from "../support/app.ts";
import { createTestCa, type TestCa, writeIdentityFiles } from "../support/cert-factory.ts";
import {
  type CountersignProcesses,
  countersignProcesses,
  type SidecarProcess,
} from "../support/countersign-process.ts";
import { ALLOW_WEB, ORDERS, TRUST_DOMAIN, WEB } from "../support/mesh.ts";
import { type ScriptedAgent, startScriptedAgent, svidMessage } from "../support/scripted-agent.ts";
import { tlsClient } from "../support/tls-client.ts";

let dir = "";
let ca: TestCa;
let agent: ScriptedAgent;
let processes: CountersignProcesses;
let orders: SidecarProcess;
let app: Awaited<ReturnType<typeof startApp>>;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "countersign-identity-reload-"));
  ca = createTestCa(TRUST_DOMAIN);
  agent = await startScriptedAgent(join(dir, "agent.sock"));
  app = await startApp((_request, response) => response.end("ok"));
  processes = countersignProcesses();
  writeIdentityFiles(join(dir, "a"), ca.issue({ spiffeId: ORDERS }), ca);
  writeFileSync(join(dir, "policies.yaml"), ALLOW_WEB);
  configure(files("a"));
  orders = processes.run(join(dir, "c.yaml"));
  await orders.next("ready");
});
afterEach(async () => {
  await processes.close();
  await app.close();
  agent.stop();
  rmSync(dir, { recursive: true, force: true });
});

const files = (folder: string): string =>
  `{ files: { svid: ${folder}/svid.pem, key: ${folder}/svid.key, bundles: { ${TRUST_DOMAIN}: ${folder}/bundle.pem } } }`;
const workloadApi = (): string => `{ workloadApi: { address: "${agent.address}" } }`;

function configure(identity: string, more = ""): void {
  writeFileSync(
    join(dir, "c.yaml"),
    `identity: ${identity}
workload: { namespace: shop, labels: { app: orders } }
audit: { sinks: [{ file: { path: audit.jsonl } }] }
admin: { listen: "unix://${dir}/admin.sock" }
inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", protocol: http }]
policies: [policies.yaml]
${more}`,
  );
  if (orders !== undefined) orders.signal("SIGHUP");
}
interface Identity {
  readonly source: string;
  readonly state: string;
  readonly generation: number;
  readonly svids: readonly { readonly serial: string }[];
  readonly pending?: { readonly source: string; readonly problem?: { readonly code: string } };
}
async function status(): Promise<{ readonly identity: Identity; readonly ready: boolean }> {
  const { stdout } = await processes.command("status", "--admin", `unix://${dir}/admin.sock`, "--json");
  return JSON.parse(stdout) as { identity: Identity; ready: boolean };
}
/** One call of web's over a new connection; resolves with the answer's first line. */
async function call(): Promise<string> {
  const client = await tlsClient(await orders.port("in"), ca.issue({ spiffeId: WEB }));
  client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  const [line = ""] = (await client.closed()).split("\r\n");
  return line;
}

describe("a reload that changes identity", () => {
  it("swaps the source once the new one has an SVID; until then the old one serves, and status says so", async () => {
    configure(workloadApi());
    await orders.next("identity.source");
    const before = await status();
    expect(before).toMatchObject({
      ready: true,
      identity: {
        source: `files ${dir}/a/svid.pem`,
        state: "serving",
        pending: { source: `workload-api ${agent.address}` },
      },
    });
    expect(await call()).toBe("HTTP/1.1 200 OK");
    const issued = ca.issue({ spiffeId: ORDERS });
    (await agent.nextCall()).send({ svids: [svidMessage(issued, ca)] });
    await expect
      .poll(async () => (await status()).identity.source, { timeout: 15_000 })
      .toBe(`workload-api ${agent.address}`);
    const after = await status();
    expect(after.identity.pending).toBeUndefined();
    expect(after.identity.svids[0]?.serial).toBe(issued.certificate.serialNumber.toLowerCase().replace(/^0+/, ""));
    expect(after.identity.generation).toBeGreaterThan(before.identity.generation);
    expect(await call()).toBe("HTTP/1.1 200 OK");
    const reasons = readFileSync(join(dir, "audit.jsonl"), "utf8").match(/"reason":"identity\.[a-z]+"/g);
    expect(reasons).toEqual(['"reason":"identity.loaded"', '"reason":"identity.rotated"']);
  });

  it("keeps the old source when the new one never gets anywhere, and drops it for a third", async () => {
    configure(files("missing"));
    await orders.next("identity.source");
    expect((await status()).identity).toMatchObject({
      state: "serving",
      pending: { problem: { code: "E_IDENTITY_FILE" } },
    });
    expect(await call()).toBe("HTTP/1.1 200 OK");
    writeIdentityFiles(join(dir, "b"), ca.issue({ spiffeId: ORDERS }), ca);
    configure(files("b"));
    await orders.next("identity.source");
    const { identity } = await status();
    expect([identity.source, identity.pending]).toEqual([`files ${dir}/b/svid.pem`, undefined]);
    expect(await call()).toBe("HTTP/1.1 200 OK");
  });

  it("changes nothing when the rest of the configuration is refused", async () => {
    configure(workloadApi(), 'health: { listen: "unix:///nowhere/at/all.sock" }\n');
    const [problem] = (await orders.next("config.rejected"))["errors"] as string[];
    expect(problem).toMatch(/E_LISTEN/);
    const { identity } = await status();
    expect([identity.source, identity.pending]).toEqual([`files ${dir}/a/svid.pem`, undefined]);
  });
});

it("a reload moves the pages of health and metrics", async () => {
  const page = async (socket: string): Promise<number> => {
    const { Client } = await import("undici");
    const client = new Client("http://localhost", { socketPath: join(dir, socket) });
    try {
      const { statusCode, body } = await client.request({
        method: "GET",
        path: socket.startsWith("m") ? "/metrics" : "/readyz",
      });
      await body.dump();
      return statusCode;
    } catch {
      return 0;
    } finally {
      await client.close();
    }
  };
  const pages = (health: string, metrics: string): string =>
    `health: { listen: "unix://${dir}/${health}" }\nmetrics: { listen: "unix://${dir}/${metrics}" }\n`;
  configure(files("a"), pages("h1", "m1"));
  await orders.next("config.loaded");
  expect([await page("h1"), await page("m1")]).toEqual([200, 200]);
  configure(files("a"), pages("h1", "m2"));
  await orders.next("config.loaded");
  expect([await page("h1"), await page("m2"), await page("m1")]).toEqual([200, 200, 0]);
  configure(files("a"));
  await orders.next("config.loaded");
  expect([await page("h1"), await page("m2")]).toEqual([0, 0]);
});
