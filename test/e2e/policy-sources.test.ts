import { generateKeyPairSync } from "node:crypto";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
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
  rmSync(dir, { recursive: true, maxRetries: 10 });
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

const SOON = { timeout: 10_000 };
const TWO = `${ALLOW_WEB}---\n${ALLOW_WEB.replace("name: web", "name: other")}`;

describe("policies from a URL", () => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const privatePem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  let server: Server;
  let port: number;
  let content: string;
  let signature: string;
  /** The server takes requests and answers none; or ends each connection. */
  let isMute: boolean;
  let isAway: boolean;
  /** What the server has from now on. */
  const serve = (text: string, version: number): void => {
    content = text;
    signature = JSON.stringify(signPolicies(text, "orders.yaml", version, privatePem, ""));
  };
  beforeEach(async () => {
    writeFileSync(join(dir, "p.pub"), publicKey.export({ type: "spki", format: "pem" }));
    serve(ALLOW_WEB, 1);
    isMute = false;
    isAway = false;
    server = createServer(({ url, headers, socket }, response) => {
      if (isAway) socket.destroy();
      if (isMute || isAway) return;
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
    await orders.next("policy.loaded");
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

  const end = async (sidecar: SidecarProcess): Promise<string> => {
    sidecar.signal("SIGTERM");
    return (await sidecar.ended).stderr;
  };
  const kept = (): { readonly signature: { readonly version: number }; readonly confirmedAtMs: number } => {
    const [name = ""] = readdirSync(join(dir, "policies-cache")).filter((one) => one.endsWith(".json"));
    return JSON.parse(readFileSync(join(dir, "policies-cache", name), "utf8"));
  };
  const INVALID = ALLOW_WEB.replace("principals", "principal");
  const FILE = ALLOW_WEB.replace("name: web", "name: file");
  const DENY_FILE = FILE.replace("ALLOW", "DENY");
  const withFile = (more?: string): string => source(more).replace("[", "[f.yaml, ");
  const change = (from: string, to: string): void => {
    const file = join(dir, "orders.yaml");
    const text = readFileSync(file, "utf8");
    expect(text).toContain(from);
    writeFileSync(file, text.replace(from, to));
  };

  it("are kept with each version that rises, so that none below it is in force after a restart", async () => {
    const first = start(source());
    await first.next("ready");
    serve(ALLOW_WEB, 9);
    await expect.poll(() => kept().signature.version, SOON).toBe(9);
    const log = await end(first);
    expect(log).not.toContain("policy.not-kept");
    expect(readdirSync(join(dir, "policies-cache"))).toHaveLength(1);
    serve(TWO, 5);
    const second = start(source());
    await second.next("ready");
    expect((await status()).policy).toMatchObject({
      policies: 1,
      sources: [{ version: 9, problem: { code: "E_POLICY_ROLLBACK" } }],
    });
  });

  it("that are invalid hold back no file, and no start that has a kept copy; status says what is in force", async () => {
    writeFileSync(join(dir, "f.yaml"), FILE);
    const first = start(withFile());
    await first.next("ready");
    await first.next("policy.loaded");
    await expect.poll(() => kept().signature.version, SOON).toBe(1);
    serve(INVALID, 4);
    await first.next("policy.rejected");
    const refused = {
      version: 1,
      newest: { version: 4, problems: [{ code: "E_POLICY_UNKNOWN_KEY" }] },
    };
    expect((await status()).policy).toMatchObject({ policies: 2, sources: [refused] });
    const { version } = (await status()).policy ?? {};
    writeFileSync(join(dir, "f.yaml"), DENY_FILE);
    expect((await first.next("policy.loaded"))["version"]).not.toBe(version);
    expect(await status()).toMatchObject({
      policy: { policies: 2, sources: [refused] },
      reloadProblems: [{ code: "E_POLICY_UNKNOWN_KEY" }],
    });
    const { stdout } = await processes.command("status", "--admin", join(dir, "orders-admin.sock"));
    expect(stdout).toMatch(/version 1\n.*its newest, version 4, is not in force: E_POLICY_UNKNOWN_KEY/);
    expect((await end(first)).match(/"policy\.rejected"/g)).toHaveLength(1);

    const second = start(withFile());
    await second.next("ready");
    await second.next("policy.rejected");
    expect((await status()).policy).toMatchObject({ policies: 2, sources: [refused] });
    serve(TWO.replaceAll("name: ", "name: n-"), 5);
    await second.next("policy.loaded");
    await second.next("policy.loaded");
    expect((await status()).policy).toMatchObject({ policies: 3, sources: [{ version: 5 }] });
    expect((await status()).policy?.sources?.[0]).not.toHaveProperty("newest");
    await end(second);

    writeFileSync(join(dir, "f.yaml"), INVALID);
    const third = await start(withFile()).ended;
    expect([third.code, third.stderr]).toEqual([2, expect.stringMatching(/f\.yaml:\d+:\d+: E_POLICY_UNKNOWN_KEY/)]);
  });

  it.each<[string, () => void]>([
    ["is no folder", () => writeFileSync(join(dir, "policies-cache"), "")],
    [
      "others can write to",
      () => {
        mkdirSync(join(dir, "policies-cache"));
        chmodSync(join(dir, "policies-cache"), 0o777);
      },
    ],
  ])("that cannot be kept because the cache %s are said to be so once, and in status", async (_, spoil) => {
    spoil();
    const orders = start(source());
    await orders.next("ready");
    expect(await orders.next("policy.not-kept")).toMatchObject({ code: "E_POLICY_KEPT" });
    await auditRecord(join(dir, "orders.jsonl"), ({ reason }) => reason === "policy.not-kept");
    serve(ALLOW_WEB, 2);
    await expect.poll(async () => (await status()).policy?.sources?.[0]?.version, SOON).toBe(2);
    expect((await status()).policy?.sources).toMatchObject([{ keepProblem: { code: "E_POLICY_KEPT" } }]);
    expect((await end(orders)).match(/"policy\.not-kept"/g)).toHaveLength(1);
  });

  it("whose kept copy somebody has changed are not used, which is said", async () => {
    const first = start(source());
    await first.next("ready");
    await expect.poll(() => kept().signature.version, SOON).toBe(1);
    await end(first);
    const [name = ""] = readdirSync(join(dir, "policies-cache"));
    const file = join(dir, "policies-cache", name);
    writeFileSync(file, readFileSync(file, "utf8").replace("sa/web", "sa/evl"));
    isAway = true;
    const second = await start(source()).ended;
    expect([second.code, second.stderr]).toEqual([
      2,
      expect.stringMatching(/E_POLICY_FETCH .*; the kept copy is not used: the signature is not of these policies/),
    ]);
    isAway = false;
    const third = start(source());
    expect(await third.next("policy.not-kept")).toMatchObject({ code: "E_POLICY_KEPT" });
    await third.next("ready");
    await expect.poll(async () => (await status()).policy?.sources?.[0]?.keepProblem, SOON).toBeUndefined();
  });

  it("of a server that is mute hold back neither a start with a kept copy nor the files and configurations of a running sidecar", async () => {
    writeFileSync(join(dir, "f.yaml"), FILE);
    const first = start(withFile("refresh: 1h"));
    await first.next("ready");
    await expect.poll(() => kept().signature.version, SOON).toBe(1);
    await end(first);
    isMute = true;
    const orders = start(withFile("refresh: 1h"));
    expect(await orders.next("policy.loaded")).toMatchObject({ policies: 2 });
    await orders.next("ready");
    expect(await orders.next("policy.source-failed")).toMatchObject({ code: "E_POLICY_FETCH" });
    // a configuration whose new source is asked in vain for 20 s
    change("name: in,", "name: new,");
    change("orders.yaml", "other.yaml");
    await new Promise<void>((resolve) => void server.once("request", () => resolve()));
    writeFileSync(join(dir, "f.yaml"), DENY_FILE);
    expect(await orders.next("policy.loaded")).toMatchObject({ policies: 2 });
    // the next configuration takes the place of the one that waits, and asks for nothing new
    change("other.yaml", "orders.yaml");
    await orders.next("config.loaded");
    expect(await orders.port("new")).toBeGreaterThan(0);
    expect((await end(orders)).match(/"config\.rejected"/g)).toBeNull();
  });

  it("stay, with their age, under another configuration while their server is away and nothing was kept", async () => {
    writeFileSync(join(dir, "policies-cache"), "");
    const orders = start(source());
    await orders.next("ready");
    const before = (await status()).policy?.sources?.[0]?.confirmedAt;
    isAway = true;
    await orders.next("policy.source-failed");
    change("name: in,", "name: new,");
    await orders.next("config.loaded");
    expect((await status()).policy?.sources).toMatchObject([
      { version: 1, confirmedAt: before, problem: { code: "E_POLICY_FETCH" } },
    ]);
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
