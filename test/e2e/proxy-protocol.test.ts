import { connect as connectTls } from "node:tls";
import { afterEach, describe, expect, it } from "vitest";
import { readProxyHeader } from "../../src/proxy/proxy-protocol/read-proxy-header.ts";
import { writeProxyHeader } from "../../src/proxy/proxy-protocol/write-proxy-header.ts";
import { startApp, startTcpApp, type TestApp } from "../support/app.ts";
import { createTestCa } from "../support/cert-factory.ts";
import { ORDERS, startTestSidecar, type TestSidecar, TRUST_DOMAIN, WEB } from "../support/mesh.ts";
import { type RawClient, rawClient, wrapRawClient } from "../support/raw-client.ts";

const CLIENT = { ip: "203.0.113.9", port: 40_000 };
const US = { ip: "192.0.2.1", port: 443 };
const ALLOW_CLIENT = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: client, namespace: shop }
spec: { action: ALLOW, rules: [{ from: [{ source: { remoteIpBlocks: [203.0.113.9/32] } }] }] }
`;

let cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
  cleanups = [];
});

interface Started {
  readonly app: TestApp;
  readonly orders: TestSidecar;
  readonly ca: ReturnType<typeof createTestCa>;
}

async function start(mtls: string, trusted: string): Promise<Started> {
  const ca = createTestCa(TRUST_DOMAIN);
  const app = await startApp((_, response) => response.end("hello"));
  const orders = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: ORDERS }),
    policies: ALLOW_CLIENT,
    config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", protocol: http, mtls: ${mtls}, proxyProtocol: true }]
trustedProxies: [${trusted}]
timeouts: { classify: 200ms }`,
  });
  cleanups.push(
    () => app.close(),
    () => orders.sidecar.drain(0),
  );
  return { app, orders, ca };
}

const REQUEST = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

async function overTls({ orders, ca }: Started, header: Uint8Array): Promise<RawClient> {
  const raw = await rawClient(orders.port("in"));
  raw.socket.removeAllListeners("data");
  raw.send(header);
  const issued = ca.issue({ spiffeId: WEB });
  const tls = connectTls({ socket: raw.socket, cert: issued.chainPem, key: issued.keyPem, rejectUnauthorized: false });
  tls.on("error", () => undefined);
  return wrapRawClient(tls);
}

describe("a PROXY header of a trusted proxy", () => {
  it.each(["v1", "v2"] as const)("%s says who the client is, before plaintext", async (version) => {
    const { orders } = await start("disable", "127.0.0.1/32");
    const client = await rawClient(orders.port("in"));
    client.send(writeProxyHeader(version, CLIENT, US));
    client.send(REQUEST);
    expect(await client.closed()).toContain("hello");
    const other = await rawClient(orders.port("in"));
    other.send(Buffer.concat([writeProxyHeader(version, { ip: "203.0.113.8", port: 1 }, US), Buffer.from(REQUEST)]));
    expect(await other.closed()).toContain("403 Forbidden");
  });

  it.each(["v1", "v2"] as const)("%s and before TLS", async (version) => {
    const started = await start("strict", "127.0.0.1/32");
    const client = await overTls(started, writeProxyHeader(version, CLIENT, US));
    client.send(REQUEST);
    expect(await client.closed()).toContain("hello");
    expect(started.orders.audit.ended).toMatchObject([
      { decision: "allow", connection: { source: { spiffeId: WEB } } },
    ]);
  });

  it("is the client whom x-forwarded-for cannot outbid", async () => {
    const { orders } = await start("disable", "127.0.0.1/32");
    const client = await rawClient(orders.port("in"));
    client.send(
      Buffer.concat([
        writeProxyHeader("v2", { ip: "203.0.113.8", port: 1 }, US),
        Buffer.from(REQUEST.replace("\r\n\r\n", "\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")),
      ]),
    );
    expect(await client.closed()).toContain("403 Forbidden");
  });

  it("that is a health check of the proxy itself leaves the proxy as the client", async () => {
    const { orders } = await start("disable", "127.0.0.1/32");
    const local = writeProxyHeader("v2", { ip: "", port: 0 }, US);
    expect(readProxyHeader(local)).toMatchObject({ kind: "header", source: undefined });
    const client = await rawClient(orders.port("in"));
    client.send(Buffer.concat([local, Buffer.from(REQUEST)]));
    expect(await client.closed()).toContain("403 Forbidden");
  });

  it.each([
    ["is missing", Buffer.from(REQUEST)],
    ["is malformed", Buffer.from("PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n")],
    ["does not come", Buffer.alloc(0)],
  ])("that %s ends the connection", async (_name, bytes) => {
    const { orders, app } = await start("disable", "127.0.0.1/32");
    const client = await rawClient(orders.port("in"));
    client.send(bytes);
    expect(await client.closed()).toBe("");
    expect(orders.audit.ended).toMatchObject([{ kind: "refusal", reason: "E_PROXY_HEADER" }]);
    expect(app.requests).toHaveLength(0);
  });
});

describe("sendProxyProtocol", () => {
  it.each(["v1", "v2"] as const)("tells a TCP app who the client is, before its bytes, %s", async (version) => {
    const app = await startTcpApp((socket) => socket.pipe(socket));
    const ca = createTestCa(TRUST_DOMAIN);
    const orders = await startTestSidecar({
      ca,
      svid: ca.issue({ spiffeId: ORDERS }),
      policies: ALLOW_CLIENT,
      config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", protocol: tcp, mtls: disable, proxyProtocol: true, sendProxyProtocol: ${version} }]
trustedProxies: [127.0.0.0/8]`,
    });
    cleanups.push(
      () => app.close(),
      () => orders.sidecar.drain(0),
    );
    const client = await rawClient(orders.port("in"));
    client.send(Buffer.concat([writeProxyHeader("v2", CLIENT, US), Buffer.from("hello")]));
    const echoed = await client.until((text) => text.endsWith("hello"));
    const header = Buffer.from(echoed, "latin1");
    expect(readProxyHeader(header)).toEqual({ kind: "header", used: header.length - 5, source: CLIENT });
    client.socket.end();
    const record = await orders.audit.next(({ kind }) => kind === "connection");
    expect(record).toMatchObject({ bytesIn: 5 });
  });
});

describe("from anybody else", () => {
  it("a PROXY header is refused", async () => {
    const { orders, app } = await start("disable", "10.0.0.0/8");
    const client = await rawClient(orders.port("in"));
    client.send(Buffer.concat([writeProxyHeader("v1", CLIENT, US), Buffer.from(REQUEST)]));
    expect(await client.closed()).toBe("");
    expect(orders.audit.ended).toMatchObject([{ reason: "E_PROXY_HEADER" }]);
    expect(app.requests).toHaveLength(0);
  });

  it.each(["disable", "permissive"])("a connection without one is served, mtls %s", async (mtls) => {
    const { orders } = await start(mtls, "10.0.0.0/8");
    const client = await rawClient(orders.port("in"));
    client.send(REQUEST);
    expect(await client.closed()).toContain("403 Forbidden");
  });

  it("TLS without one is served", async () => {
    const started = await start("strict", "10.0.0.0/8");
    const client = await overTls(started, new Uint8Array(0));
    client.send(REQUEST);
    expect(await client.closed()).toContain("403 Forbidden");
    expect(started.orders.audit.ended).toMatchObject([{ connection: { source: { spiffeId: WEB } } }]);
  });
});
