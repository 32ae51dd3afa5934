import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSocketServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Ran, runCommand } from "../../test/support/run-command.ts";
import { type RunningAdmin, startAdmin } from "../admin/admin.ts";
import type { StatusDocument } from "../admin/status-document.ts";
import { run } from "./status.ts";
import { formatStatus } from "./status-view.ts";

const document: StatusDocument = {
  version: "1.2.3",
  pid: 42,
  startedAt: "2030-01-01T00:00:00.000Z",
  uptimeSeconds: 11_045,
  ready: true,
  reasons: [],
  identity: {
    source: "workload-api unix:///run/agent.sock",
    state: "serving",
    generation: 7,
    svids: [
      {
        spiffeId: "spiffe://example.org/ns/shop/sa/orders",
        hint: "",
        serial: "7f3a",
        notBefore: "2030-01-01T03:00:00.000Z",
        notAfter: "2030-01-01T04:00:00.000Z",
        key: "EC P-256",
      },
    ],
    bundles: [
      { trustDomain: "example.org", authorities: 1, firstExpiry: "2030-01-02T03:04:05.000Z", crls: 1, jwtKeys: 2 },
      { trustDomain: "partner.org", authorities: 2 },
    ],
    federation: [
      {
        trustDomain: "partner.org",
        url: "https://partner.org/b",
        fetchedAt: "2030-01-01T02:00:00.000Z",
        sequence: "5",
        nextFetch: "2030-01-01T03:10:00.000Z",
        problem: { code: "E_FEDERATION_ANSWER", message: "HTTP status 404" },
      },
      { trustDomain: "third.org", url: "https://third.org/b", nextFetch: "2030-01-01T03:05:00.000Z" },
    ],
    pending: { source: "files svid.pem", problem: { code: "E_IDENTITY_FILE", message: "svid.pem cannot be read" } },
  },
  listeners: [
    {
      name: "web",
      direction: "inbound",
      address: "0.0.0.0:15006",
      target: "127.0.0.1:8080",
      protocol: "auto",
      connections: 12,
      upstreamConnections: 3,
    },
    {
      name: "payments",
      direction: "outbound",
      address: "127.0.0.1:9001",
      target: "payments.shop:15006",
      protocol: "http1",
      connections: 0,
      upstreamConnections: 0,
    },
  ],
  policy: { version: "b9c1", loadedAt: "2030-01-01T02:59:00.000Z", policies: 1, rules: 12 },
  reloadProblems: [],
  audit: {
    healthy: true,
    problem: undefined,
    onFailure: "block",
    capacity: 8192,
    queued: 1,
    written: 120,
    bytes: 9000,
    dropped: 0,
    refusalsFolded: 0,
    seq: 120,
    sinks: [{ name: "file /var/log/audit.jsonl", problem: undefined }],
  },
};
const notReady: StatusDocument = {
  ...document,
  ready: false,
  reasons: [{ code: "E_IDENTITY_NONE", message: "no SVID yet", fix: "look at the agent" }],
};

let folder: string;
let socket: string;
let admin: RunningAdmin | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "countersign-status-"));
  socket = join(folder, "admin.sock");
});
afterEach(async () => {
  await admin?.close();
  admin = undefined;
  rmSync(folder, { recursive: true });
});
async function serve(answer: StatusDocument): Promise<void> {
  const addresses = { admin: { kind: "unix", path: socket }, health: undefined, metrics: undefined } as const;
  admin = await startAdmin(addresses, {
    status: () => answer,
    metrics: () => Promise.reject(new TypeError("unused")),
    onError: () => undefined,
  });
}
function status(argv: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  return runCommand(run, argv, folder, env);
}

describe("status", () => {
  it.each<[string, () => [string[], Record<string, string>?]]>([
    ["--admin with a unix:// address", () => [["--admin", `unix://${socket}`]]],
    ["--admin with a path", () => [["--admin", socket]]],
    ["COUNTERSIGN_ADMIN", () => [[], { COUNTERSIGN_ADMIN: `unix://${socket}` }]],
    ["-c", () => [["-c", "countersign.yaml"]]],
  ])("finds the sidecar by %s", async (_name, args) => {
    const yaml = `workload: { namespace: shop }
identity: { workloadApi: { address: "unix://${folder}/agent.sock" } }
inbound: [{ listen: 127.0.0.1:0, app: 127.0.0.1:8080 }]
admin: { listen: "unix://${socket}" }
`;
    writeFileSync(join(folder, "countersign.yaml"), yaml);
    await serve(document);
    const [argv, env] = args();
    expect(await status(argv, env)).toMatchObject({ code: 0, out: expect.stringContaining("pid 42"), err: "" });
  });

  it("shows where calls go, address by address", async () => {
    const [web] = document.listeners;
    if (web === undefined) throw new TypeError("no listener");
    const counts = { connections: 2, active: 1, pending: 0, limited: 0 };
    const healthy = { address: "10.0.0.1:1", state: "healthy", connections: 2, active: 1, latencyMs: 1.26 } as const;
    const ejected = { address: "10.0.0.2:1", name: "a.shop", state: "ejected", ejectedForMs: 61_000 } as const;
    const none = { connections: 0, active: 0, failures: 0, ejections: 0 };
    const upstream = {
      ...counts,
      endpoints: [
        { ...none, ...healthy },
        { ...none, ...ejected, failures: 5 },
      ],
      problems: [{ code: "E_UPSTREAM_RESOLVE", message: "a.shop has no address" }],
    };
    await serve({ ...document, listeners: [{ ...web, upstream }] });
    const { out } = await status(["--admin", socket]);
    expect(out).toContain(`upstreams  name  endpoint             state                  active  latency  failures
           web   10.0.0.1:1           healthy                1       1.3 ms   0
           web   10.0.0.2:1 (a.shop)  ejected for 1 min 1 s  0                5
           E_UPSTREAM_RESOLVE a.shop has no address
`);
  });

  it("says with its exit code that the sidecar is not ready", async () => {
    await serve(notReady);
    const { code, out } = await status(["--admin", socket]);
    expect(code).toBe(1);
    expect(out).toContain("no SVID yet; fix: look at the agent");
    const asJson = await status(["--admin", socket, "--json"]);
    expect(asJson.code).toBe(1);
    expect(JSON.parse(asJson.out)).toMatchObject({ ready: false, pid: 42 });
  });

  it("says what to do when there is no socket, nobody behind it, or a stranger", async () => {
    const missing = await status(["--admin", socket]);
    expect(missing).toMatchObject({ code: 1, out: "" });
    expect(missing.err).toMatch(
      /^E_STATUS_UNREACHABLE unix:\/\/.*: there is no such socket; fix: check that the sidecar/,
    );

    const dead = createSocketServer();
    await new Promise<void>((resolve) => dead.listen(`${socket}.first`, resolve));
    renameSync(`${socket}.first`, socket);
    await new Promise((resolve) => dead.close(resolve));
    expect((await status(["--admin", socket])).err).toContain("the sidecar that made the socket is gone");
    rmSync(socket);

    for (const answer of ["<html>", "null", '{"ready":true}', '{"ready":"yes"}']) {
      const stranger = createServer((_request, response) => response.end(answer));
      await new Promise<void>((resolve) => stranger.listen(socket, resolve));
      expect(await status(["--admin", socket])).toMatchObject({
        code: 1,
        err: expect.stringContaining("not as a sidecar"),
      });
      await new Promise((resolve) => stranger.close(resolve));
    }
  });

  it("answers --json with JSON when nobody answers, too", async () => {
    const { code, out } = await status(["--admin", socket, "--json"]);
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ ready: false, reasons: [{ code: "E_STATUS_UNREACHABLE" }] });
  });

  it.each([
    [["--admin", "127.0.0.1:15000"], "is no Unix socket"],
    [["--admin", "relative.sock"], "is no Unix socket"],
    [["--admin", "/x", "-c", "countersign.yaml"], "not both"],
    [["-c", "missing.yaml"], "missing.yaml"],
    [["--what"], "unknown option"],
    [["surplus"], "too many arguments"],
  ])("refuses %j as wrong usage", async (argv, message) => {
    const { code, err } = await status(argv);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });

  it("says so when the configuration has no admin socket", async () => {
    const yaml = `workload: { namespace: shop }
identity: { workloadApi: { address: "unix://${folder}/agent.sock" } }
inbound: [{ listen: 127.0.0.1:0, app: 127.0.0.1:8080 }]
`;
    writeFileSync(join(folder, "countersign.yaml"), yaml);
    expect(await status(["-c", "countersign.yaml"])).toMatchObject({
      code: 2,
      err: expect.stringContaining("has no admin socket"),
    });
  });
});

describe("the view", () => {
  it("is aligned and says everything", () => {
    expect(formatStatus(document, false)).toBe(
      `sidecar    countersign 1.2.3, pid 42, up 3 h 4 min
ready      yes
identity   serving, from workload-api unix:///run/agent.sock, generation 7
           spiffe://example.org/ns/shop/sa/orders  serial 7f3a  EC P-256  expires in 55 min 55 s (2030-01-01T04:00:00.000Z)
           to be taken over by files svid.pem: E_IDENTITY_FILE svid.pem cannot be read
bundles    example.org  1 authority, the first expires in 1 d (2030-01-02T03:04:05.000Z), 1 CRL, 2 JWT keys
           partner.org  2 authorities
federation partner.org  fetched 1 h 4 min ago, sequence 5, again in 5 min 55 s, from https://partner.org/b: E_FEDERATION_ANSWER HTTP status 404
           third.org  never fetched, again in 55 s, from https://third.org/b
policy     version b9c1, 1 policy, 12 rules, loaded 5 min 5 s ago
audit      healthy
           1 of 8192 places taken, 120 written, 0 dropped, on failure block
           file /var/log/audit.jsonl
listeners  name      direction  address         to                   protocol  open  upstream
           web       inbound    0.0.0.0:15006   127.0.0.1:8080       auto      12    3
           payments  outbound   127.0.0.1:9001  payments.shop:15006  http1     0     0
`,
    );
  });

  it("shows where keys come from, and how providers answer", () => {
    const text = formatStatus(
      {
        ...document,
        keySources: [
          { from: "https://idp.example/jwks", keys: 2, loadedAt: "2026-01-01T00:00:00.000Z", ageSeconds: 90 },
          { from: "https://other.example", keys: 0, problem: { code: "E_JWKS_FETCH", message: "the fetch failed" } },
        ],
        providers: [{ name: "opa", allowed: 3, denied: 2, failed: 1 }],
      },
      false,
    );
    expect(text).toMatch(/^keys +2 keys from https:\/\/idp\.example\/jwks, fetched [^,]+ ago$/m);
    expect(text).toMatch(/^ +0 keys from https:\/\/other\.example: E_JWKS_FETCH the fetch failed$/m);
    expect(text).toMatch(/^providers *opa: 3 allowed, 2 denied, 1 failed$/m);
  });

  it("shows problems, and colour only when asked", () => {
    const broken: StatusDocument = {
      ...notReady,
      identity: {
        ...document.identity,
        state: "expired",
        svids: [],
        problem: { code: "E_IDENTITY_EXPIRED", message: "it ran out" },
      },
      policy: undefined,
      reloadProblems: [{ code: "E_CONFIG_KEY", message: "unknown key" }],
      audit: { ...document.audit, problem: "file x: ENOSPC" },
      listeners: [],
    };
    const text = formatStatus(broken, true);
    for (const part of ["\u001b[31mno", "E_IDENTITY_EXPIRED it ran out", "E_CONFIG_KEY unknown key", "ENOSPC"])
      expect(text).toContain(part);
    expect(formatStatus(broken, false)).not.toContain("\u001b");
  });

  it("lets no text of the answer control the terminal", () => {
    const hostile = "\u001b[2J\u202e";
    const text = formatStatus(
      {
        ...notReady,
        version: hostile,
        reasons: [{ code: hostile, message: hostile, fix: hostile }],
        identity: {
          ...document.identity,
          source: hostile,
          bundles: [{ trustDomain: hostile, authorities: 1, firstExpiry: hostile }],
          federation: [{ trustDomain: hostile, url: hostile, sequence: hostile, nextFetch: hostile }],
          pending: { source: hostile, problem: { code: hostile, message: hostile } },
        },
        audit: { ...document.audit, problem: hostile, sinks: [{ name: hostile, problem: hostile }] },
      },
      false,
    );
    expect(text.replaceAll("\n", "")).not.toMatch(/\p{C}/u);
  });
});
