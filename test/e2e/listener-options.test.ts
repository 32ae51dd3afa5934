import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseTrustDomain } from "../../src/core/spiffe-id.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { createTestCa, type TestCa, testSvid } from "../support/cert-factory.ts";
import {
  ALLOW_WEB,
  ORDERS,
  startMesh,
  startTestSidecar,
  type TestSidecar,
  TRUST_DOMAIN,
  WEB,
} from "../support/mesh.ts";
import { tlsClient } from "../support/tls-client.ts";

const ADMIN = "spiffe://example.org/ns/shop/sa/admin";

let dir: string;
let ca: TestCa;
let cleanups: (() => Promise<unknown>)[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "countersign-options-"));
  ca = createTestCa(TRUST_DOMAIN);
  cleanups = [];
});
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
  rmSync(dir, { recursive: true });
});

/** An app that answers with the address of who called it. */
async function startedApp(): Promise<TestApp> {
  const app = await startApp((request, response) => response.end(`from ${request.socket.remoteAddress}`));
  cleanups.push(() => app.close());
  return app;
}

/** Orders' sidecar; `keys` are more of its inbound listener's, `more` top-level ones. */
async function startOrders(
  target: string,
  keys: string,
  { policies = ALLOW_WEB, more = "" }: { readonly policies?: string; readonly more?: string } = {},
): Promise<TestSidecar> {
  const orders = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: ORDERS }),
    policies,
    config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "${target}", protocol: http${keys === "" ? "" : `, ${keys}`} }]\n${more}`,
  });
  cleanups.push(() => orders.sidecar.drain(0));
  return orders;
}

/** One request of web, sent straight to orders' sidecar, as a gateway with an SVID would; the whole answer. */
async function callAsWeb(orders: TestSidecar, fields: string): Promise<string> {
  const client = await tlsClient(orders.port("in"), ca.issue({ spiffeId: WEB }));
  client.send(`GET / HTTP/1.1\r\nHost: orders.shop\r\nConnection: close\r\n${fields}\r\n`);
  return client.closed();
}

describe("xfcc", () => {
  const FIRST = "By=spiffe://edge.example/gw;Hash=00;URI=spiffe://edge.example/user";
  const OWN = `By=${ORDERS};Hash=[0-9a-f]{64};URI=${WEB}`;
  it.each([
    ["sanitize_set", new RegExp(`^${OWN}$`)],
    ["append_forward", new RegExp(`^${FIRST},${OWN}$`)],
    ["forward_only", new RegExp(`^${FIRST}$`)],
  ])("%s gives the app what it promises of a verified peer's field", async (mode, expected) => {
    const app = await startedApp();
    const orders = await startOrders(`127.0.0.1:${app.port}`, `xfcc: ${mode}`);
    expect(await callAsWeb(orders, `X-Forwarded-Client-Cert: ${FIRST}\r\n`)).toMatch(/^HTTP\/1\.1 200 /);
    expect(app.requests[0]?.headers["x-forwarded-client-cert"]).toMatch(expected);
  });

  it.each([
    ["sanitize_set", new RegExp(`^${OWN}$`)],
    ["append_forward", new RegExp(`^${OWN}$`)],
    ["forward_only", undefined],
  ])("%s never has what the calling app wrote itself: its sidecar removes it", async (mode, expected) => {
    const app = await startedApp();
    const mesh = await startMesh({ appPort: app.port, inbound: `xfcc: ${mode}` });
    cleanups.push(() => mesh.close());
    const headers = { "x-forwarded-client-cert": FIRST, X_Forwarded_Client_Cert: FIRST };
    expect((await ask(mesh.port, "/", { headers })).status).toBe(200);
    const seen = app.requests[0]?.headers ?? {};
    expect(seen["x_forwarded_client_cert"]).toBeUndefined();
    if (expected === undefined) expect(seen["x-forwarded-client-cert"]).toBeUndefined();
    else expect(seen["x-forwarded-client-cert"]).toMatch(expected);
  });
});

describe("the app's address", () => {
  it("is dialled from appSource", async () => {
    const app = await startedApp();
    const orders = await startOrders(`127.0.0.1:${app.port}`, "appSource: 127.0.0.6");
    expect(await callAsWeb(orders, "")).toContain("from 127.0.0.6");
  });

  it("may be a Unix socket, whose port for policies is `port`", async () => {
    const path = join(dir, "app.sock");
    const server = createServer((_, response) => response.end("from a socket"));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    cleanups.push(() => new Promise((resolve) => server.close(resolve)));
    const policies = `${ALLOW_WEB}      to: [{ operation: { ports: ["8443"] } }]\n`;
    const orders = await startOrders(`unix://${path}`, "port: 8443", { policies });
    expect(await callAsWeb(orders, "")).toContain("from a socket");
    expect((await orders.audit.next(() => true)).destinationAddress ?? "").toContain(path);
    const other = await startOrders(`unix://${path}`, "port: 8444", { policies });
    expect(await callAsWeb(other, "")).toContain("E_POLICY_DENIED_BY_DEFAULT");
  });
});

describe("svid.hint", () => {
  const serveTwo = (sidecar: TestSidecar, ids: readonly [string, string]): void => {
    const [first, second] = ids.map((spiffeId) => ca.issue({ spiffeId }));
    if (first === undefined || second === undefined) throw new TypeError("two IDs");
    const bundles = new Map([[parseTrustDomain(TRUST_DOMAIN), ca.trustBundle()]]);
    const svids = [testSvid(first, "main"), testSvid(second, "admin")] as const;
    sidecar.identity.set({ kind: "serving", snapshot: { generation: 2, svids, bundles } });
  };

  it("chooses with which of our SVIDs an outbound listener calls", async () => {
    const app = await startedApp();
    const orders = await startOrders(`127.0.0.1:${app.port}`, "", { policies: ALLOW_WEB.replace("sa/web", "sa/*") });
    const listener = (name: string, more: string): string =>
      `  - { name: ${name}, listen: "127.0.0.1:0", to: ["127.0.0.1:${orders.port("in")}"], identity: "${ORDERS}", protocol: http${more} }\n`;
    const web = await startTestSidecar({
      ca,
      svid: undefined,
      config: `outbound:\n${listener("default", "")}${listener("admin", ", svid: { hint: admin }")}${listener("none", ", svid: { hint: other }")}`,
    });
    cleanups.push(() => web.sidecar.drain(0));
    serveTwo(web, [WEB, ADMIN]);
    const callers = async (path: string): Promise<unknown[]> => {
      const served = await orders.audit.next((record) => record.path === path);
      const called = await web.audit.next((record) => record.path === path);
      return [served.connection.source?.spiffeId, called.connection.source?.spiffeId];
    };
    expect((await ask(web.port("default"), "/default")).status).toBe(200);
    expect(await callers("/default")).toEqual([WEB, WEB]);
    expect((await ask(web.port("admin"), "/admin")).status).toBe(200);
    expect(await callers("/admin")).toEqual([ADMIN, ADMIN]);
    const refused = await ask(web.port("none"), "/none");
    expect([refused.status, refused.headers["x-countersign-code"]]).toEqual([503, "E_IDENTITY_HINT"]);
  });

  it("chooses which of our SVIDs an inbound listener shows", async () => {
    const app = await startedApp();
    const orders = await startOrders(`127.0.0.1:${app.port}`, "svid: { hint: admin }");
    serveTwo(orders, [ORDERS, ADMIN]);
    const client = await tlsClient(orders.port("in"), ca.issue({ spiffeId: WEB }));
    expect(client.peerUri).toBe(ADMIN);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    await client.closed();
    expect((await orders.audit.next(() => true)).connection.destination?.spiffeId).toBe(ADMIN);
  });
});

describe("authority", () => {
  it("replaces Host toward the server, for its policies and its app", async () => {
    const app = await startedApp();
    const policies = `${ALLOW_WEB}      to: [{ operation: { hosts: [orders.internal] } }]\n`;
    const mesh = await startMesh({ appPort: app.port, policies, outbound: "authority: orders.internal" });
    cleanups.push(() => mesh.close());
    expect((await ask(mesh.port, "/", { headers: { host: "anything.example" } })).status).toBe(200);
    expect(app.requests[0]?.headers.host).toBe("orders.internal");
    expect((await mesh.inbound.audit.next(() => true)).authority).toBe("orders.internal");
  });
});

describe("x-forwarded-for", () => {
  const policies = ALLOW_WEB.replace("sa/web]", 'sa/web], remoteIpBlocks: ["203.0.113.0/24"]');
  it.each([
    ["the last hop that is no proxy counts", "127.0.0.0/8", "198.51.100.1, 203.0.113.7", 200],
    ["what the client wrote before it does not", "127.0.0.0/8", "203.0.113.7, 198.51.100.1", 403],
    ["proxies of ours behind it are passed over", "127.0.0.0/8, 10.0.0.0/8", "203.0.113.7, 10.1.2.3", 200],
    ["nonsense ends the walk", "127.0.0.0/8", "203.0.113.7, unknown", 403],
    ["nobody is believed who is not listed", "10.0.0.0/8", "203.0.113.7", 403],
  ])("%s", async (_, trusted, forwardedFor, status) => {
    const app = await startedApp();
    const more = `trustedProxies: [${trusted}]`;
    const orders = await startOrders(`127.0.0.1:${app.port}`, "", { policies, more });
    const answer = await callAsWeb(orders, `X-Forwarded-For: ${forwardedFor}\r\n`);
    expect(answer.slice(0, 12)).toBe(`HTTP/1.1 ${status}`);
    expect(app.requests.map(({ headers }) => headers["x-forwarded-for"])).toEqual(status === 200 ? [forwardedFor] : []);
  });

  it("of a peer that is no trusted proxy does not reach the app", async () => {
    const app = await startedApp();
    const orders = await startOrders(`127.0.0.1:${app.port}`, "");
    expect(await callAsWeb(orders, "X-Forwarded-For: 203.0.113.7\r\n")).toContain("200 OK");
    expect(app.requests[0]?.headers["x-forwarded-for"]).toBeUndefined();
  });
});
