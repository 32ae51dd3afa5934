import { X509Certificate } from "node:crypto";
import { chmodSync, lstatSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { Client } from "undici";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type TestIssuer, testIssuer } from "../../../test/support/test-issuer.ts";
import type { JwtSvidResponse, X509SvidResponse } from "../workload-api/proto.ts";
import type { EntryView } from "./admin-pages.ts";

const MINUTE = 60_000;
let issuer: TestIssuer;
beforeEach(() => {
  issuer = testIssuer();
});
afterEach(() => issuer.close());

interface Reply {
  readonly status: number;
  readonly entries?: readonly EntryView[];
  readonly entry?: EntryView;
  readonly warnings?: readonly string[];
  readonly error?: { readonly code: string; readonly message: string };
}

async function admin(method: "GET" | "POST" | "DELETE" | "PUT", path: string, body?: unknown): Promise<Reply> {
  const asked = issuer.uid;
  issuer.uid = process.geteuid?.() ?? 0;
  const client = new Client("http://localhost", { socketPath: join(issuer.folder, "admin") });
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const response = await client.request({ method, path, ...(body === undefined ? {} : { body: text }) });
  const answer = await response.body.text();
  await client.close();
  issuer.uid = asked;
  return { status: response.statusCode, ...(response.statusCode < 404 ? (JSON.parse(answer) as object) : {}) };
}
const b = { id: "spiffe://example.org/b", selectors: ["unix:uid:1002"] };
const idsFor = async (uid: number): Promise<string[] | string> => {
  issuer.uid = uid;
  const client = await issuer.client();
  const answer = client.stream<X509SvidResponse>("FetchX509SVID").next();
  return answer.then(
    ({ svids }) => svids.map(({ spiffeId }) => spiffeId),
    (error: { readonly details: string }) => error.details,
  );
};
const yaml = `entries: [{ id: spiffe://example.org/a, selectors: ["unix:uid:1001"] }]`;

describe("entries of the running issuer", () => {
  it("are added, told apart from the file's, pushed at once, kept over a restart and removed", async () => {
    const running = await issuer.start(yaml);
    expect(await idsFor(1002)).toContain("no entry matches");
    const { entry } = await admin("POST", "/entries", { ...b, svidTtl: "10m", hint: "x" });
    expect(entry).toEqual({
      entryId: expect.any(String) as string,
      source: "added",
      ...b,
      svidTtl: "600000ms",
      hint: "x",
    });
    expect(await idsFor(1002)).toEqual([b.id]);
    await running.close();

    const again = await issuer.start(yaml);
    const { entries } = await admin("GET", "/entries");
    expect(entries?.map(({ id, source }) => [id, source])).toEqual([
      ["spiffe://example.org/a", "file"],
      ["spiffe://example.org/b", "added"],
    ]);
    const stream = (await issuer.client()).stream<X509SvidResponse>("FetchX509SVID");
    issuer.uid = 1002;
    await stream.next();
    expect(await admin("DELETE", `/entries/${entry?.entryId}`)).toMatchObject({ status: 200, entry: { id: b.id } });
    await expect(stream.next()).rejects.toMatchObject({ code: status.PERMISSION_DENIED });
    expect((await admin("GET", "/entries")).entries).toHaveLength(1);
    expect(issuer.records.map(({ kind, reason }) => [kind, reason])).toEqual(
      expect.arrayContaining([
        ["identity", "entry.added"],
        ["identity", "entry.removed"],
      ]),
    );
    await again.close();
    expect(readFileSync(join(issuer.folder, "state", "entries.json"), "utf8")).toContain('"entries": []');
    expect(statSync(join(issuer.folder, "state", "entries.json")).mode & 0o777).toBe(0o600);
  });

  it.each<[string, unknown, string, RegExp]>([
    ["no JSON", "{", "E_CONFIG_YAML", /./],
    ["an unknown key", { ...b, ttl: "1h" }, "E_CONFIG_KEY", /has no key "ttl"/],
    ["no selector", { ...b, selectors: [] }, "E_CONFIG_VALUE", /no selectors/],
    ["no uid", { ...b, selectors: ["unix:gid:1"] }, "E_CONFIG_VALUE", /no unix:uid: selector/],
    [
      "a key twice",
      `{"id":"spiffe://example.org/b","id":"spiffe://example.org/c","selectors":["unix:uid:5"]}`,
      "E_CONFIG_YAML",
      /./,
    ],
    ["another's uid", { ...b, selectors: ["unix:uid:1001"] }, "E_ISSUER_ENTRY", /shares uid 1001/],
    ["another domain", { ...b, id: "spiffe://other.org/b" }, "E_ISSUER_ENTRY", /outside the trust domain/],
    ["a life that is too long", { ...b, svidTtl: "24h" }, "E_ISSUER_ENTRY", /a sixth of caTtl/],
  ])("are refused with %s, by the file's rules, and nothing changes", async (_name, body, code, message) => {
    await issuer.start(`${yaml}\ncaTtl: 24h`);
    const answer = await admin("POST", "/entries", body);
    expect(answer).toMatchObject({ status: 400, error: { code, message: expect.stringMatching(message) as string } });
    expect((await admin("GET", "/entries")).entries).toHaveLength(1);
  });

  it("of the file are not removed", async () => {
    await issuer.start(yaml);
    const entryId = (await admin("GET", "/entries")).entries?.[0]?.entryId ?? "";
    expect(await admin("DELETE", `/entries/${entryId}`)).toMatchObject({
      status: 400,
      error: { code: "E_ISSUER_ENTRY" },
    });
  });

  it("that a new file contradicts are suspended", async () => {
    const running = await issuer.start(yaml);
    await admin("POST", "/entries", b);
    running.reload(issuer.config(`entries: [{ id: spiffe://example.org/c, selectors: ["unix:uid:1002"] }]`));
    expect(await idsFor(1002)).toEqual(["spiffe://example.org/c"]);
    expect((await admin("GET", "/entries")).entries?.[1]).toMatchObject({
      id: b.id,
      suspended: expect.any(String) as string,
    });
    expect(issuer.log).toContainEqual(expect.objectContaining({ event: "entry.suspended", id: b.id }));
  });

  it("in a file that is damaged stop the start", async () => {
    await (await issuer.start(yaml)).close();
    writeFileSync(join(issuer.folder, "state", "entries.json"), "{}", { mode: 0o600 });
    await expect(issuer.start(yaml)).rejects.toThrow(expect.objectContaining({ code: "E_ISSUER_STATE" }) as Error);
    chmodSync(join(issuer.folder, "state", "entries.json"), 0o644);
    await expect(issuer.start(yaml)).rejects.toThrow(/has mode 0644/);
  });
});

describe("lives of an entry's own", () => {
  it("count for its X.509-SVIDs and JWT-SVIDs, and the issuer's for others", async () => {
    await issuer.start(`development: true
entries:
  - { id: spiffe://example.org/a, selectors: ["unix:uid:1001"] }
  - { id: spiffe://example.org/short, selectors: ["unix:uid:1001"], svidTtl: 10m, jwtTtl: 1m }`);
    const client = await issuer.client();
    const stream = client.stream<X509SvidResponse>("FetchX509SVID");
    const lives = ({ svids }: X509SvidResponse): number[] =>
      svids.map(({ x509Svid }) => new X509Certificate(x509Svid).validToDate.getTime() - issuer.clock.nowMs());
    expect(lives(await stream.next())).toEqual([60 * MINUTE, 10 * MINUTE]);
    issuer.clock.advance(5 * MINUTE);
    expect(lives(await stream.next())).toEqual([55 * MINUTE, 10 * MINUTE]);
    const { svids } = await client.unary<JwtSvidResponse>("FetchJWTSVID", { audience: ["x"], spiffeId: "" });
    const jwtLives = svids.map(({ svid }) => {
      const claims = JSON.parse(Buffer.from(svid.split(".")[1] ?? "", "base64url").toString()) as { exp: number };
      return claims.exp * 1000 - issuer.clock.nowMs();
    });
    expect(jwtLives).toEqual([5 * MINUTE, MINUTE]);
  });
});

describe("the admin socket", () => {
  it("is for root and the issuer's own user: by its mode, and by who asks", async () => {
    await issuer.start(yaml);
    const path = join(issuer.folder, "admin");
    expect(lstatSync(path).mode & 0o777).toBe(0o600);
    issuer.uid = 54_321;
    const client = new Client("http://localhost", { socketPath: path });
    const { statusCode, body } = await client.request({ method: "GET", path: "/entries" });
    await body.dump();
    await client.close();
    expect(statusCode).toBe(403);
  });

  it.each([
    ["GET", "/", 404],
    ["GET", "/entries/x/y", 404],
    ["PUT", "/entries", 405],
    ["GET", "/entries/x", 405],
    ["POST", "/bundles", 405],
  ] as const)("%s %s answers %d", async (method, path, expected) => {
    await issuer.start(yaml);
    expect((await admin(method, path)).status).toBe(expected);
  });

  it("takes no request of more than 1 MiB", async () => {
    await issuer.start(yaml);
    expect((await admin("POST", "/entries", "x".repeat(1024 * 1024 + 1))).status).toBe(413);
  });
});

describe("audit records", () => {
  const caller = { uid: 1001, gid: 100, pid: 4321 };
  it("say of each SVID to whom it was issued, by which entry and selectors", async () => {
    await issuer.start(`entries: [{ id: spiffe://example.org/a, selectors: ["unix:uid:1001", "unix:path:/opt/app"] }]`);
    const client = await issuer.client();
    const { svids } = await client.stream<X509SvidResponse>("FetchX509SVID").next();
    await client.unary<JwtSvidResponse>("FetchJWTSVID", { audience: ["x", "y"], spiffeId: "" });
    const serial = new X509Certificate(svids[0]?.x509Svid ?? "").serialNumber.toLowerCase();
    const shared = {
      kind: "identity",
      decision: "allow",
      local: caller,
      selectors: ["unix:uid:1001", "unix:path:/opt/app"],
    };
    const spiffeId = "spiffe://example.org/a";
    expect(issuer.records).toEqual([
      {
        ...shared,
        reason: "svid.issued.x509",
        source: { spiffeId, serial, notAfterMs: issuer.clock.nowMs() + 60 * MINUTE },
        detail: expect.stringMatching(/^entry [0-9a-f]{12}$/) as string,
      },
      {
        ...shared,
        reason: "svid.issued.jwt",
        source: { spiffeId, serial: undefined, notAfterMs: issuer.clock.nowMs() + 5 * MINUTE },
        detail: expect.stringMatching(/^entry [0-9a-f]{12}, for x y$/) as string,
      },
    ]);
  });

  it("are made of each rotation, once for a connection", async () => {
    await issuer.start(yaml);
    const stream = (await issuer.client()).stream<X509SvidResponse>("FetchX509SVID");
    await stream.next();
    issuer.clock.advance(30 * MINUTE);
    await stream.next();
    expect(issuer.records.map(({ reason }) => reason)).toEqual(["svid.issued.x509", "svid.issued.x509"]);
    expect(issuer.records[0]?.source?.serial).not.toBe(issuer.records[1]?.source?.serial);
  });

  it("say of each caller that got nothing what was seen of it, and why", async () => {
    await issuer.start(yaml);
    issuer.uid = 5;
    expect(await idsFor(5)).toContain("no entry matches");
    const client = await issuer.client();
    await expect(client.unary("FetchJWTSVID", { audience: ["x"], spiffeId: "" })).rejects.toThrow();
    const expected = {
      kind: "identity",
      decision: "deny",
      reason: "E_ISSUER_NO_ENTRY",
      local: { ...caller, uid: 5 },
      selectors: ["unix:uid:5", "unix:gid:100", "unix:path:/opt/app"],
      detail: "no identity issued: no entry matches uid 5, gid 100, pid 4321, /opt/app",
    };
    expect(issuer.records).toEqual([expected, expected]);
  });

  it("say which ID a caller asked for in vain", async () => {
    await issuer.start(yaml);
    const asked = { audience: ["x"], spiffeId: "spiffe://example.org/b" };
    await expect((await issuer.client()).unary("FetchJWTSVID", asked)).rejects.toThrow("not entitled");
    expect(issuer.records).toMatchObject([
      { decision: "deny", reason: "E_ISSUER_NO_ENTRY", selectors: ["unix:uid:1001"] },
    ]);
  });

  it("that cannot be written stop the issuing, and it goes on when they can", async () => {
    await issuer.start(yaml);
    issuer.auditProblem = "the disk is full";
    const client = await issuer.client();
    const refused = { code: status.UNAVAILABLE, details: expect.stringContaining("the disk is full") as string };
    await expect(client.stream("FetchX509SVID").next()).rejects.toMatchObject(refused);
    await expect(client.unary("FetchJWTSVID", { audience: ["x"], spiffeId: "" })).rejects.toMatchObject(refused);
    issuer.auditProblem = undefined;
    await client.stream<X509SvidResponse>("FetchX509SVID").next();
    expect(issuer.records.map(({ decision }) => decision)).toEqual(["allow"]);
  });
});
