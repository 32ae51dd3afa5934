import { createPublicKey } from "node:crypto";
import { existsSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { connect, createServer } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createTestCa, testSvid } from "../../test/support/cert-factory.ts";
import type { AuditState } from "../audit/audit-log.ts";
import type { Address } from "../config/sidecar-config.ts";
import { CountersignError, CountersignErrors } from "../core/errors.ts";
import type { IdentityState } from "../core/identity.ts";
import { parseTrustDomain } from "../core/spiffe-id.ts";
import { type AdminAddresses, type AdminProviders, type RunningAdmin, startAdmin } from "./admin.ts";
import { notReadyReasons, type StatusInput, statusDocument } from "./status-document.ts";

const audit: AuditState = {
  healthy: true,
  problem: undefined,
  onFailure: "block",
  capacity: 8,
  queued: 0,
  written: 0,
  bytes: 0,
  dropped: 0,
  refusalsFolded: 0,
  seq: 0,
  sinks: [],
};
const ca = createTestCa("example.org", { nowMs: 86_400_000 });
const issued = ca.issue({ spiffeId: "spiffe://example.org/sa/web", serial: 0x1fn, notBefore: 0, notAfter: 3_600_000 });
const svid = testSvid(issued);
const bundle = ca.trustBundle({ crls: [ca.crl({ serials: [] })] });
const snapshot = {
  generation: 3,
  svids: [svid] as [typeof svid],
  bundles: new Map([[bundle.trustDomain, bundle]]),
};
const problem = new CountersignError("E_IDENTITY_EXPIRED", "it ran out", { fix: "mend it" });
function input(over: Partial<StatusInput> = {}): StatusInput {
  return {
    version: "1.2.3",
    startedMs: 1000,
    nowMs: 61_500,
    started: true,
    draining: false,
    identity: { description: "files svid.pem", state: { kind: "serving", snapshot } },
    listeners: [],
    policy: { version: "abc", loadedAtMs: 2000, policies: 1, rules: 2 },
    reloadError: undefined,
    audit,
    ...over,
  };
}
const withState = (state: IdentityState): Partial<StatusInput> => ({ identity: { description: "files", state } });

let folder: string;
let running: RunningAdmin[];
let current: StatusInput;
let failures: unknown[];
const providers: AdminProviders = {
  status: () => statusDocument(current),
  metrics: () => Promise.resolve({ contentType: "text/plain; version=0.0.4", body: "x 1\n" }),
  onError: (error) => failures.push(error),
};
const anyPort: Address = { kind: "tcp", host: "127.0.0.1", port: 0 };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "countersign-admin-"));
  running = [];
  failures = [];
  current = input();
});
afterEach(async () => {
  for (const admin of running) await admin.close();
  rmSync(folder, { recursive: true });
});

async function start(addresses: Partial<AdminAddresses>, over: Partial<AdminProviders> = {}): Promise<RunningAdmin> {
  const all = { admin: undefined, health: undefined, metrics: undefined, ...addresses };
  const admin = await startAdmin(all, { ...providers, ...over });
  running.push(admin);
  return admin;
}
function unixAddress(): Address & { kind: "unix" } {
  return { kind: "unix", path: join(folder, "admin.sock") };
}

interface Answer {
  readonly status: number | undefined;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: string;
}
function ask(
  address: Address | undefined,
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  const target =
    address?.kind === "tcp" ? { host: address.host, port: address.port } : { socketPath: address?.path ?? "" };
  const { body: content, ...rest } = options;
  return new Promise((resolve, reject) => {
    const sent = request({ ...target, path, agent: false, ...rest }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, body }));
    });
    sent.on("error", reject);
    sent.end(content);
  });
}
/** Writes bytes as they are and resolves with everything that came until the server closed. */
function raw(address: Address | undefined, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    if (address?.kind !== "tcp") return reject(new TypeError("TCP only"));
    let text = "";
    const socket = connect(address.port, address.host, () => socket.write(bytes));
    socket.on("data", (chunk) => {
      text += String(chunk);
    });
    socket.on("error", () => resolve(text));
    socket.on("close", () => resolve(text));
  });
}

describe("the admin page", () => {
  it("answers on a Unix socket that only its owner may open, and removes it at the end", async () => {
    const address = unixAddress();
    const admin = await start({ admin: address });
    expect(statSync(address.path).mode & 0o777).toBe(0o600);
    const { status, headers, body } = await ask(address, "/status");
    expect([status, headers["content-type"]]).toEqual([200, "application/json"]);
    expect(JSON.parse(body)).toMatchObject({ version: "1.2.3", pid: process.pid, ready: true, uptimeSeconds: 60 });
    await admin.close();
    expect(existsSync(address.path)).toBe(false);
  });

  it("replaces a socket that a dead process left behind", async () => {
    const address = unixAddress();
    const dead = createServer();
    await new Promise<void>((resolve) => dead.listen(join(folder, "first.sock"), resolve));
    // Node removes a socket by the name that it was made with: moved away, it stays, answered by nobody.
    renameSync(join(folder, "first.sock"), address.path);
    await new Promise((resolve) => dead.close(resolve));
    expect(statSync(address.path).isSocket()).toBe(true);
    await start({ admin: address });
    expect((await ask(address, "/status")).status).toBe(200);
  });

  it("never replaces a socket that somebody answers, nor a file", async () => {
    const address = unixAddress();
    await start({ admin: address });
    await expect(start({ admin: address })).rejects.toMatchObject({
      code: "E_LISTEN",
      message: expect.stringContaining("another process answers there"),
    });
    expect((await ask(address, "/status")).status).toBe(200);
    const path = join(folder, "precious");
    writeFileSync(path, "x");
    await expect(start({ admin: { kind: "unix", path } })).rejects.toMatchObject({ code: "E_LISTEN" });
    expect(existsSync(path)).toBe(true);
  });

  it("says which folder is missing", async () => {
    const path = join(folder, "missing", "admin.sock");
    await expect(start({ admin: { kind: "unix", path } })).rejects.toMatchObject({
      code: "E_LISTEN",
      message: expect.stringContaining(path),
    });
  });

  it("is refused on TCP, which is not built yet", async () => {
    await expect(start({ admin: anyPort })).rejects.toMatchObject({ code: "E_CONFIG_UNSUPPORTED" });
  });

  it("closes what was open when another address fails", async () => {
    const address = unixAddress();
    const taken = await start({ health: anyPort });
    await expect(start({ admin: address, health: taken.addresses.health })).rejects.toMatchObject({ code: "E_LISTEN" });
    expect(existsSync(address.path)).toBe(false);
  });
});

describe("health", () => {
  it("is alive while it is not ready, and says why not to this machine", async () => {
    current = input({ started: false });
    const { addresses } = await start({ health: anyPort });
    expect(await ask(addresses.health, "/livez")).toMatchObject({ status: 200, body: "ok\n" });
    const notReady = await ask(addresses.health, "/readyz?verbose");
    expect(notReady.status).toBe(503);
    expect(JSON.parse(notReady.body)).toMatchObject({ ready: false, reasons: [{ code: "E_STARTING" }] });
    current = input();
    expect((await ask(addresses.health, "/readyz")).status).toBe(200);
    expect(await ask(addresses.health, "/readyz", { method: "HEAD" })).toMatchObject({ status: 200, body: "" });
  });
});

/** One of this machine's own addresses that is not loopback; what goes there stays in the machine all the same. */
const ownAddress = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;

it.runIf(ownAddress !== undefined)("health tells others no reason, and takes any Host from them", async () => {
  current = input({ started: false });
  const { addresses } = await start({ health: { kind: "tcp", host: "0.0.0.0", port: 0 } });
  const port = addresses.health?.kind === "tcp" ? addresses.health.port : 0;
  const answer = await ask({ kind: "tcp", host: ownAddress ?? "", port }, "/readyz", { headers: { host: "pod" } });
  expect([answer.status, answer.body]).toEqual([503, "not ready\n"]);
  const local = await ask({ kind: "tcp", host: "127.0.0.1", port }, "/readyz");
  expect(local.body).toContain("E_STARTING");
});

it("metrics are answered as they were rendered", async () => {
  const { addresses } = await start({ metrics: anyPort });
  expect(await ask(addresses.metrics, "/metrics")).toMatchObject({
    status: 200,
    body: "x 1\n",
    headers: { "content-type": "text/plain; version=0.0.4" },
  });
});

describe("the server", () => {
  it.each(["/", "/status", "/livez/", "//livez", "/constructor", "/__proto__", "http://127.0.0.1/livez", "*"])(
    "has no page %s beside the health pages",
    async (path) => {
      const { addresses } = await start({ health: anyPort });
      expect((await ask(addresses.health, path)).status).toBe(404);
    },
  );

  it.each(["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])("refuses %s", async (method) => {
    const { addresses } = await start({ health: anyPort });
    expect(await ask(addresses.health, "/livez", { method })).toMatchObject({
      status: 405,
      headers: { allow: "GET, HEAD" },
    });
  });

  it("refuses a request body", async () => {
    const { addresses } = await start({ health: anyPort });
    const headers = { "content-length": "2" };
    expect((await ask(addresses.health, "/livez", { method: "GET", headers, body: "hi" })).status).toBe(400);
  });

  it.each(["evil.example", "evil.example:80", "127.0.0.1.evil.example", "0.0.0.0", "10.0.0.1", "[::2]", "a@localhost"])(
    "refuses the foreign Host %s on loopback",
    async (host) => {
      const { addresses } = await start({ health: anyPort, metrics: anyPort });
      expect((await ask(addresses.health, "/readyz", { headers: { host } })).status).toBe(421);
      expect((await ask(addresses.metrics, "/metrics", { headers: { host } })).status).toBe(421);
    },
  );

  it.each(["localhost", "LOCALHOST:15021", "127.0.0.1", "127.0.0.9:1", "[::1]:15021"])(
    "answers the Host %s on loopback",
    async (host) => {
      const { addresses } = await start({ health: anyPort });
      expect((await ask(addresses.health, "/livez", { headers: { host } })).status).toBe(200);
    },
  );

  it("refuses heads that are too large, garbage, and two requests where the first is bad", async () => {
    const { addresses } = await start({ health: anyPort });
    const large = `GET /livez HTTP/1.1\r\nhost: localhost\r\nx: ${"x".repeat(9000)}\r\n\r\n`;
    expect(await raw(addresses.health, large)).not.toContain("200");
    expect(await raw(addresses.health, "\x16\x03\x01garbage\r\n\r\n")).not.toContain("200");
    const smuggled =
      "GET /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nGET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    expect(await raw(addresses.health, smuggled)).toMatch(/^HTTP\/1\.1 400 /);
  });

  it("tells nothing of an inner failure", async () => {
    const secret = new Error("inner detail");
    const { addresses } = await start({ metrics: anyPort }, { metrics: () => Promise.reject(secret) });
    const { status, body } = await ask(addresses.metrics, "/metrics");
    expect(status).toBe(500);
    expect(body).not.toContain("inner");
    expect(failures).toEqual([secret]);
  });
});

describe("readiness", () => {
  it.each<[string, Partial<StatusInput>, string[]]>([
    ["serving", {}, []],
    ["with a stale but valid identity", withState({ kind: "stale", snapshot, problem }), []],
    ["without an identity yet", withState({ kind: "waiting", sinceMs: 0, problem: undefined }), ["E_IDENTITY_NONE"]],
    ["with an agent that refuses", withState({ kind: "waiting", sinceMs: 0, problem }), ["E_IDENTITY_EXPIRED"]],
    ["with an expired identity", withState({ kind: "expired", problem }), ["E_IDENTITY_EXPIRED"]],
    ["with a revoked identity", withState({ kind: "revoked", problem }), ["E_IDENTITY_EXPIRED"]],
    ["with a listener whose SVID is missing", { wantedHints: new Map([["internal", "web"]]) }, ["E_IDENTITY_HINT"]],
    ["with a listener whose SVID is there", { wantedHints: new Map([["", "web"]]) }, []],
    ["starting", { started: false }, ["E_STARTING"]],
    ["draining", { draining: true }, ["E_DRAINING"]],
    ["with a reload that failed", { reloadError: problem }, []],
    ["with a broken audit sink and block", { audit: { ...audit, problem: "full" } }, ["E_AUDIT_UNAVAILABLE"]],
    ["with a broken audit sink and drop", { audit: { ...audit, problem: "full", onFailure: "drop" } }, []],
  ])("%s", (_name, over, codes) => {
    expect(notReadyReasons(input(over)).map(({ code }) => code)).toEqual(codes);
    expect(statusDocument(input(over)).ready).toBe(codes.length === 0);
  });
});

describe("the status document", () => {
  it("says where keys come from and how long ago, and how providers answer", () => {
    const failed = new CountersignError("E_JWKS_FETCH", "the fetch failed", { fix: "look" });
    const { keySources, providers } = statusDocument(
      input({
        nowMs: 100_000,
        keySources: [
          { from: "https://idp.example/jwks", keys: 2, loadedAtMs: 10_000, problem: undefined },
          { from: "https://other.example", keys: 0, loadedAtMs: undefined, problem: failed },
        ],
        providers: [{ name: "opa", allowed: 3, denied: 2, failed: 1 }],
      }),
    );
    expect(keySources).toEqual([
      { from: "https://idp.example/jwks", keys: 2, loadedAt: "1970-01-01T00:00:10.000Z", ageSeconds: 90 },
      {
        from: "https://other.example",
        keys: 0,
        problem: { code: "E_JWKS_FETCH", message: "the fetch failed", fix: "look" },
      },
    ]);
    expect(providers).toEqual([{ name: "opa", allowed: 3, denied: 2, failed: 1 }]);
    expect(statusDocument(input({}))).toMatchObject({ keySources: undefined, providers: undefined });
  });

  it("shows identity, policy and reload problems, and nothing secret", () => {
    const jwtBundle = { trustDomain: bundle.trustDomain, keys: [], version: "1" };
    const keys = ["a", "b"].map((keyId) => ({ keyId, key: createPublicKey(svid.key) }));
    const withKeys = { ...snapshot, jwtBundles: new Map([[bundle.trustDomain, { ...jwtBundle, keys }]]) };
    const identity: StatusInput["identity"] = {
      description: "files svid.pem",
      state: { kind: "serving", snapshot: withKeys },
      pending: { description: "workload-api unix:///a", problem: undefined },
      federation: [
        {
          trustDomain: parseTrustDomain("partner.org"),
          url: "https://partner.org/bundle",
          fetchedAtMs: 1000,
          sequence: 18446744073709551615n,
          nextFetchMs: 301_000,
          problem,
        },
      ],
    };
    const document = statusDocument(input({ identity, reloadError: new CountersignErrors([problem, problem]) }));
    expect(document.identity).toEqual({
      source: "files svid.pem",
      state: "serving",
      generation: 3,
      svids: [
        {
          spiffeId: "spiffe://example.org/sa/web",
          hint: "",
          serial: "1f",
          key: "EC P-256",
          issuer: "C=US, CN=example.org root",
          notBefore: "1970-01-01T00:00:00.000Z",
          notAfter: "1970-01-01T01:00:00.000Z",
        },
      ],
      bundles: [
        {
          trustDomain: "example.org",
          authorities: 1,
          firstExpiry: ca.certificate.validToDate.toISOString(),
          crls: 1,
          jwtKeys: 2,
        },
      ],
      federation: [
        {
          trustDomain: "partner.org",
          url: "https://partner.org/bundle",
          fetchedAt: "1970-01-01T00:00:01.000Z",
          sequence: "18446744073709551615",
          nextFetch: "1970-01-01T00:05:01.000Z",
          problem: { code: "E_IDENTITY_EXPIRED", message: "it ran out", fix: "mend it" },
        },
      ],
      pending: { source: "workload-api unix:///a", problem: undefined },
      problem: undefined,
    });
    expect(JSON.stringify(document)).not.toContain("PRIVATE");
    expect(document.policy).toEqual({ version: "abc", loadedAt: "1970-01-01T00:00:02.000Z", policies: 1, rules: 2 });
    expect(document.reloadProblems).toEqual([
      { code: "E_IDENTITY_EXPIRED", message: "it ran out", fix: "mend it" },
      { code: "E_IDENTITY_EXPIRED", message: "it ran out", fix: "mend it" },
    ]);
  });
});
