import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { StatusDocument } from "../../src/admin/status-document.ts";
import { signPolicies } from "../../src/config/policy-signature.ts";
import { ask } from "../support/ask.ts";
import { auditRecord } from "../support/audit-records.ts";
import { createTestCa, writeIdentityFiles } from "../support/cert-factory.ts";
import {
  type CountersignProcesses,
  countersignProcesses,
  type SidecarProcess,
} from "../support/countersign-process.ts";
import { ALLOW_WEB, ORDERS, TRUST_DOMAIN } from "../support/mesh.ts";
import { operations } from "../support/sidecar-pair.ts";

let dir: string;
let processes: CountersignProcesses;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "countersign-sources-"));
  processes = countersignProcesses();
  const ca = createTestCa(TRUST_DOMAIN);
  writeIdentityFiles(join(dir, "orders"), ca.issue({ spiffeId: ORDERS }), ca);
});
afterEach(async () => {
  await processes.close();
  rmSync(dir, { recursive: true });
});

/** Orders' sidecar with these policies. */
function start(policies: string): SidecarProcess {
  writeFileSync(
    join(dir, "orders.yaml"),
    `${operations(dir, "orders")}
identity: { files: { svid: orders/svid.pem, key: orders/svid.key, bundles: { ${TRUST_DOMAIN}: orders/bundle.pem } } }
workload: { namespace: shop, labels: { app: orders } }
inbound:
  - { name: in, listen: "127.0.0.1:0", app: "127.0.0.1:9", protocol: http }
policies: ${policies}
`,
  );
  return processes.run(join(dir, "orders.yaml"));
}

const page = async (name: string, path: string): Promise<string> =>
  (await ask(join(dir, `orders-${name}.sock`), path)).body;
const status = async (): Promise<StatusDocument> => JSON.parse(await page("admin", "/status")) as StatusDocument;

const TWO = `${ALLOW_WEB}---\n${ALLOW_WEB.replace("name: web", "name: other")}`;

describe("policies from a URL", () => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const privatePem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  let server: Server;
  let port: number;
  let content: string;
  let signature: string;
  /** What the server has from now on. */
  const serve = (text: string, version: number): void => {
    content = text;
    signature = JSON.stringify(signPolicies(text, "orders.yaml", version, privatePem, ""));
  };
  beforeEach(async () => {
    writeFileSync(join(dir, "p.pub"), publicKey.export({ type: "spki", format: "pem" }));
    serve(ALLOW_WEB, 1);
    server = createServer(({ url, headers }, response) => {
      const body = url === "/orders.yaml.sig" ? signature : content;
      const etag = `"${body.length}"`;
      if (headers["if-none-match"] === etag) response.writeHead(304).end();
      else response.writeHead(200, { etag }).end(body);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    ({ port } = server.address() as AddressInfo);
  });
  afterEach(() => {
    server.closeAllConnections();
    server.close();
  });
  const source = (more = "refresh: 1s"): string =>
    `[{ url: "http://127.0.0.1:${port}/orders.yaml", publicKey: p.pub, ${more} }]`;

  it("are in force, follow the server without a signal, and never back", async () => {
    const orders = start(source());
    expect(await orders.next("policy.loaded")).toMatchObject({ policies: 1 });
    await orders.next("ready");
    serve(TWO, 2);
    expect(await orders.next("policy.loaded")).toMatchObject({ policies: 2 });
    serve(ALLOW_WEB, 1);
    expect(await orders.next("policy.source-failed")).toMatchObject({ code: "E_POLICY_ROLLBACK" });
    const { policy } = await status();
    expect(policy).toMatchObject({
      policies: 2,
      sources: [{ name: `http://127.0.0.1:${port}/orders.yaml`, version: 2, problem: { code: "E_POLICY_ROLLBACK" } }],
    });
    expect(await page("metrics", "/metrics")).toMatch(/^countersign_policy_source_age_seconds\{source="http:.*"\} \d/m);
    await auditRecord(join(dir, "orders.jsonl"), ({ reason }) => reason === "policy.source-failed");
    serve(`${TWO}# again\n`, 3);
    await orders.next("policy.source-restored");
    expect((await status()).policy?.sources).toMatchObject([{ version: 3 }]);
  });

  it("that are invalid change nothing; the last good ones are kept, and start the sidecar while the server is away", async () => {
    const first = start(source());
    await first.next("ready");
    serve(ALLOW_WEB.replace("principals", "principal"), 2);
    await first.next("policy.rejected");
    expect((await status()).policy).toMatchObject({ policies: 1 });
    const cache = join(dir, "policies-cache");
    const [kept = ""] = readdirSync(cache);
    expect(statSync(join(cache, kept)).mode & 0o777).toBe(0o600);
    expect(statSync(cache).mode & 0o777).toBe(0o700);
    first.signal("SIGTERM");
    await first.ended;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    const second = start(source());
    expect(await second.next("policy.loaded")).toMatchObject({ policies: 1 });
    await second.next("ready");
    expect((await status()).policy?.sources).toMatchObject([{ problem: { code: "E_POLICY_FETCH" } }]);
  });
});

describe("a Kubernetes ConfigMap", () => {
  it("that changes its link is in force without a signal, also when its mount is the folder", async () => {
    for (const [version, text] of [
      ["..1", ALLOW_WEB],
      ["..2", TWO],
    ] as const) {
      mkdirSync(join(dir, "policies", version), { recursive: true });
      writeFileSync(join(dir, "policies", version, "p.yaml"), text);
    }
    symlinkSync("..1", join(dir, "policies/..data"));
    symlinkSync("..data/p.yaml", join(dir, "policies/p.yaml"));
    const orders = start("[policies]");
    expect(await orders.next("policy.loaded")).toMatchObject({ policies: 1 });
    await orders.next("ready");
    symlinkSync("..2", join(dir, "policies/..data_tmp"));
    renameSync(join(dir, "policies/..data_tmp"), join(dir, "policies/..data"));
    rmSync(join(dir, "policies/..1"), { recursive: true });
    expect(await orders.next("policy.loaded")).toMatchObject({ policies: 2 });
  });
});
