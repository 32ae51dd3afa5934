import { connect as connectHttp2 } from "node:http2";
import { connect as connectTls } from "node:tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApp, startTcpApp, type TestApp, type TestTcpApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { createTestCa, type TestCa } from "../support/cert-factory.ts";
import {
  allowOutbound,
  type Egress,
  type EgressOptions,
  startEgress,
  startTlsApp,
  type TlsApp,
} from "../support/egress.ts";
import { eventually } from "../support/eventually.ts";
import { ALLOW_WEB, ORDERS, startTestSidecar, TRUST_DOMAIN } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";
import { connectTo, echoed, socksName, socksTo, tlsInside, u16 } from "../support/tunnels.ts";
import { startSilent, upstreamOf } from "../support/upstream-servers.ts";

let ca: TestCa;
let server: TlsApp;
let app: TestApp;
let cleanups: (() => Promise<unknown>)[];
beforeEach(async () => {
  ca = createTestCa(TRUST_DOMAIN);
  server = await startTlsApp(ca);
  app = await startApp((request, response) => response.end(`${request.method ?? ""} ${request.url ?? ""}`));
  cleanups = [() => server.close(), () => app.close()];
});
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

const EVERYTHING = allowOutbound('hosts: ["*.test", "127.0.0.1"]');

async function start(options: Partial<EgressOptions> = {}): Promise<Egress> {
  const egress = await startEgress({
    ca,
    forward: `addresses: [127.0.0.0/8], ports: [${server.port}, ${app.port}]`,
    policies: EVERYTHING,
    names: { "api.test": ["127.0.0.1"], "other.test": ["127.0.0.1"] },
    ...options,
  });
  cleanups.push(() => egress.close());
  return egress;
}

describe("TLS in a tunnel", () => {
  it("by CONNECT reaches the server that it names, and leaves one record of it", async () => {
    const egress = await start();
    const client = await connectTo(egress, `API.test:${server.port}`);
    expect(client.received).toMatch(/^HTTP\/1\.1 200 Connection established\r\nx-countersign-id: \S+\r\n\r\n$/);
    const tls = await tlsInside(client, "api.test");
    expect(await echoed(tls, "hello")).toBe("tls:hello");
    client.socket.end();
    const record = await egress.sidecar.audit.next(({ kind }) => kind === "connection");
    expect(record).toMatchObject({
      decision: "allow",
      protocol: "tls",
      method: "CONNECT",
      authority: `api.test:${server.port}`,
      destination: undefined,
      destinationAddress: `127.0.0.1:${server.port}`,
      close: "ended",
    });
    expect(record.bytesIn).toBeGreaterThan(100);
    expect(record.bytesOut).toBeGreaterThan(100);
    expect(client.received).toContain(record.id);
    expect(server.names).toEqual(["api.test"]);
    expect(egress.sidecar.audit.ended).toHaveLength(1);
    expect(egress.sidecar.audit.open).toBe(0);
  });

  it("by SOCKS5 with a name", async () => {
    const egress = await start();
    const { client, reply } = await socksTo(egress, socksName("api.test", server.port));
    expect(reply).toBe(0);
    expect(await echoed(await tlsInside(client, "api.test"), "hello")).toBe("tls:hello");
  });

  it("by SOCKS5 with an address, whose server name policy may look at", async () => {
    const egress = await start();
    const { client, reply } = await socksTo(egress, Uint8Array.of(5, 1, 0, 1, 127, 0, 0, 1, ...u16(server.port)));
    expect(reply).toBe(0);
    expect(await echoed(await tlsInside(client, "anything.test"), "hello")).toBe("tls:hello");
  });

  it("may begin before the answer is there: what was sent early is relayed", async () => {
    const egress = await start();
    const client = await rawClient(egress.port);
    // a client that sends its ClientHello behind the request, in one write
    const hello = await clientHello("api.test");
    client.send(Buffer.concat([Buffer.from(`CONNECT api.test:${server.port} HTTP/1.1\r\nHost: a\r\n\r\n`), hello]));
    const text = await client.until((received) => received.includes("\r\n\r\n\x16\x03\x03"));
    expect(text).toContain("200 Connection established");
    client.socket.destroy();
    const socks = await rawClient(egress.port);
    socks.send(Buffer.concat([Buffer.of(5, 1, 0), socksName("api.test", server.port), hello]));
    await socks.until((received) => received.slice(12).startsWith("\x16\x03\x03"));
    socks.socket.destroy();
  });

  it.each([
    ["another server", "other.test"],
    ["no server", undefined],
  ])("that names %s is refused, by an alert that says why, and nothing is sent", async (_name, servername) => {
    const egress = await start();
    const client = await connectTo(egress, `api.test:${server.port}`);
    await expect(tlsInside(client, servername)).rejects.toThrow(/unrecognized.name/i);
    const record = await egress.sidecar.audit.next(() => true);
    expect(record).toMatchObject({ decision: "deny", reason: "E_EGRESS_SNI", authority: `api.test:${server.port}` });
    expect(server.received).toBe(0);
    expect(egress.sidecar.audit.open).toBe(0);
  });

  it("ends with a new policy that no longer allows it", async () => {
    const egress = await start();
    const tls = await tlsInside(await connectTo(egress, `api.test:${server.port}`), "api.test");
    expect(await echoed(tls, "hello")).toBe("tls:hello");
    egress.sidecar.setPolicies(allowOutbound('hosts: ["other.test"]'));
    expect(await egress.sidecar.audit.next(() => true)).toMatchObject({
      reason: "E_POLICY_DENIED_BY_DEFAULT",
      decision: "deny",
    });
  });

  it("outlives a new policy that still allows it, and a drain cuts it at its deadline", async () => {
    const egress = await start();
    const tls = await tlsInside(await connectTo(egress, `api.test:${server.port}`), "api.test");
    egress.sidecar.setPolicies(allowOutbound('hosts: ["api.test"]'));
    expect(await echoed(tls, "hello")).toBe("tls:hello");
    expect(egress.sidecar.sidecar.activeCalls).toBe(1);
    expect(await egress.sidecar.sidecar.drain(50)).toBe(1);
    expect(egress.sidecar.audit.ended).toMatchObject([{ reason: "E_DRAIN_CUT" }]);
  });
});

/** The ClientHello of a real client. */
async function clientHello(servername: string): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const catcher: TestTcpApp = await startTcpApp((socket) => socket.once("data", (chunk: Buffer) => resolve(chunk)));
  const tls = connectTls({ port: catcher.port, host: "127.0.0.1", servername, rejectUnauthorized: false });
  tls.on("error", () => undefined);
  const hello = await promise;
  tls.destroy();
  await catcher.close();
  return hello;
}

describe("a CONNECT", () => {
  it.each([
    ["to port 22", "api.test:22", "", 403, "E_EGRESS_PORT"],
    ["to a metadata service", "169.254.169.254:443", "", 403, "E_EGRESS_ADDRESS"],
    ["to a closed address in IPv4-mapped form", "[::ffff:10.0.0.1]:443", "", 403, "E_EGRESS_ADDRESS"],
    ["to a name that has no address", "nowhere.test:443", "", 502, "E_EGRESS_RESOLVE"],
    ["without a port", "api.test", "", 400, "E_HTTP_TARGET"],
    ["to something that is no name", `${"a".repeat(254)}:443`, "", 400, "E_EGRESS_TARGET"],
    ["with a body", "api.test:443", "Content-Length: 5\r\n", 400, "E_HTTP_CONNECT_BODY"],
    ["with a chunked body", "api.test:443", "Transfer-Encoding: chunked\r\n", 400, "E_HTTP_CONNECT_BODY"],
  ])("%s is refused, with the reason where every client shows it", async (_name, authority, more, status, code) => {
    const egress = await start({
      forward: "ports: [443]",
      policies: allowOutbound('methods: ["*"]'),
      names: { "api.test": ["127.0.0.1"] },
    });
    const client = await connectTo(egress, authority, more);
    const text = await client.closed();
    expect(text).toContain(`HTTP/1.1 ${status} `);
    expect(text).toContain(`x-countersign-code: ${code}`);
    if (code.startsWith("E_EGRESS")) expect(text.split("\r\n")[0]).toContain(`${status} ${code}: `);
    expect(egress.sidecar.audit.ended).toMatchObject([{ reason: code }]);
    expect(egress.sidecar.audit.open).toBe(0);
  });

  it("is denied by default, and what came behind it is not read as a request", async () => {
    const egress = await start({ policies: allowOutbound("hosts: [other.test]") });
    const client = await rawClient(egress.port);
    client.send(
      `CONNECT api.test:${app.port} HTTP/1.1\r\nHost: a\r\n\r\nGET http://other.test:${app.port}/smuggled HTTP/1.1\r\nHost: a\r\n\r\n`,
    );
    const text = await client.closed();
    expect(text).toMatch(/^HTTP\/1\.1 403 E_POLICY_DENIED_BY_DEFAULT: /);
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(app.requests).toHaveLength(0);
    expect(egress.sidecar.audit.ended).toHaveLength(1);
  });

  it("may follow requests in absolute form on the same connection", async () => {
    const egress = await start();
    const client = await rawClient(egress.port);
    client.send(`GET http://api.test:${app.port}/first HTTP/1.1\r\nHost: a\r\n\r\n`);
    await client.until((text) => text.includes("GET /first"));
    client.send(`CONNECT api.test:${app.port} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await client.until((text) => text.includes("200 Connection established"));
    client.send("GET /second HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n");
    expect(await client.closed()).toContain("GET /second");
  });

  it("where nobody listens is told as 502", async () => {
    const closed = await startTcpApp(() => undefined);
    await closed.close();
    const egress = await start({ forward: `addresses: [127.0.0.0/8], ports: [${closed.port}]` });
    const client = await connectTo(egress, `api.test:${closed.port}`);
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 502 E_UPSTREAM_CONNECT: 127\.0\.0\.1:\d+: ECONNREFUSED/);
    expect(egress.sidecar.audit.ended).toMatchObject([
      { decision: "error", destinationAddress: `127.0.0.1:${closed.port}` },
    ]);
  });

  it("whose caller leaves at once has its record too", async () => {
    const egress = await start();
    const client = await connectTo(egress, `api.test:${server.port}`);
    client.socket.destroy();
    expect(await egress.sidecar.audit.next(() => true)).toMatchObject({
      reason: "E_CALLER_GONE",
      close: "caller-closed",
    });
    expect(egress.sidecar.audit.open).toBe(0);
  });

  it("that no audit record can be written of is not served", async () => {
    const egress = await start();
    egress.sidecar.audit.full = true;
    const client = await connectTo(egress, `api.test:${server.port}`);
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 503 E_AUDIT_UNAVAILABLE/);
    expect(server.connections).toBe(0);
  });
});

describe("a DENY that names an address", () => {
  const denied = `${EVERYTHING}---
apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: closed, namespace: shop }
spec:
  direction: OUTBOUND
  action: DENY
  rules: [{ when: [{ key: destination.ip, values: [127.0.0.5] }] }]
`;

  it("keeps a tunnel from it, whatever name leads there", async () => {
    const egress = await start({
      policies: denied,
      names: { "api.test": ["127.0.0.5"], "other.test": ["127.0.0.5", "127.0.0.1"] },
    });
    expect(await (await connectTo(egress, `api.test:${server.port}`)).closed()).toContain(
      "403 E_POLICY_DENIED_BY_RULE",
    );
    // another address of the name will do
    const tls = await tlsInside(await connectTo(egress, `other.test:${server.port}`), "other.test");
    expect(await echoed(tls, "hello")).toBe("tls:hello");
  });

  it("keeps a request from it", async () => {
    const egress = await start({ policies: denied, names: { "api.test": ["127.0.0.5"] } });
    const client = await rawClient(egress.port);
    client.send(`GET http://api.test:${app.port}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    expect(await client.closed()).toContain("x-countersign-code: E_POLICY_DENIED_BY_RULE");
  });
});

describe("a DENY of all but some addresses", () => {
  const allBut = (block: string): string => `${EVERYTHING}---
apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: closed, namespace: shop }
spec:
  direction: OUTBOUND
  action: DENY
  rules: [{ when: [{ key: destination.ip, notValues: [${block}] }] }]
`;

  it.each([
    ["is for where a name leads, not for the name", "127.0.0.0/8", 200],
    ["keeps a name from elsewhere", "127.0.0.5", 403],
  ])("%s", async (_name, block, status) => {
    const egress = await start({ policies: allBut(block) });
    for (const host of ["api.test", "127.0.0.1"]) {
      const answer = await ask(egress.port, `http://${host}:${app.port}/`);
      expect([answer.status, answer.headers["x-countersign-code"]]).toEqual([
        status,
        status === 200 ? undefined : "E_POLICY_DENIED_BY_RULE",
      ]);
      const { received } = await connectTo(egress, `${host}:${server.port}`);
      expect(received).toMatch(status === 200 ? /^HTTP\/1\.1 200 / : /^HTTP\/1\.1 403 E_POLICY_DENIED_BY_RULE/);
    }
    expect(server.connections).toBe(status === 200 ? 2 : 0);
  });

  it("has a request on a kept connection decided anew, too", async () => {
    const egress = await start({ policies: allBut("127.0.0.0/8") });
    expect((await ask(egress.port, `http://api.test:${app.port}/`)).status).toBe(200);
    egress.sidecar.setPolicies(allBut("127.0.0.5"));
    expect((await ask(egress.port, `http://api.test:${app.port}/`)).status).toBe(403);
    expect(app.requests).toHaveLength(1);
  });
});

describe("other bytes in a tunnel", () => {
  it("than TLS or HTTP are refused outside the mesh", async () => {
    const egress = await start();
    const client = await connectTo(egress, `api.test:${server.port}`);
    client.send("SSH-2.0-OpenSSH_9.9\r\n");
    await client.closed();
    expect(egress.sidecar.audit.ended).toMatchObject([{ decision: "deny", reason: "E_EGRESS_PROTOCOL" }]);
    expect(server.received).toBe(0);
  });

  it("that do not come are not waited for", async () => {
    const egress = await start({ more: "timeouts: { handshake: 100ms }" });
    const client = await connectTo(egress, `api.test:${server.port}`);
    await client.closed();
    expect(egress.sidecar.audit.ended).toMatchObject([{ reason: "E_EGRESS_PROTOCOL" }]);
  });

  it("than a whole ClientHello are not waited for either", async () => {
    const egress = await start({ more: "timeouts: { handshake: 100ms }" });
    const client = await connectTo(egress, `api.test:${server.port}`);
    client.send(Uint8Array.of(22, 3, 1, 0, 200, 1, 0));
    expect((await client.closed()).endsWith("\x15\x03\x03\x00\x02\x02\x31")).toBe(true);
    expect(egress.sidecar.audit.ended).toMatchObject([{ reason: "E_EGRESS_SNI" }]);
  });

  it("that are HTTP are served request by request, each with its record", async () => {
    const egress = await start();
    const client = await connectTo(egress, `api.test:${app.port}`);
    client.send(`GET /a HTTP/1.1\r\nHost: api.test:${app.port}\r\n\r\n`);
    await client.until((text) => text.includes("GET /a"));
    client.send("GET /b HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n");
    await client.closed();
    const seen = egress.sidecar.audit.ended.map(({ kind, method, path, status }) => ({ kind, method, path, status }));
    expect(seen).toEqual([
      { kind: "request", method: "GET", path: "/a", status: 200 },
      { kind: "request", method: "GET", path: "/b", status: 200 },
    ]);
    expect(egress.sidecar.audit.open).toBe(0);
  });

  it.each([
    ["Host", "GET /x HTTP/1.1\r\nHost: other.test"],
    ["Host, on another port", "GET /x HTTP/1.1\r\nHost: api.test:1"],
    ["target", "GET http://other.test/x HTTP/1.1\r\nHost: api.test"],
    ["tunnel in the tunnel", "CONNECT other.test:443 HTTP/1.1\r\nHost: api.test"],
  ])("that are HTTP with another %s are refused", async (_name, head) => {
    const egress = await start();
    const client = await connectTo(egress, `api.test:${app.port}`);
    client.send(`${head}\r\n\r\n`);
    await client.until((text) => text.includes("x-countersign-code: E_EGRESS_HOST"));
    expect(app.requests).toHaveLength(0);
  });

  it("that are HTTP for a name, in a tunnel that was asked for by address, are refused", async () => {
    const egress = await start();
    const { client } = await socksTo(egress, Uint8Array.of(5, 1, 0, 1, 127, 0, 0, 1, ...u16(app.port)));
    client.send("GET /x HTTP/1.1\r\nHost: api.test\r\n\r\n");
    await client.until((text) => text.includes("x-countersign-code: E_EGRESS_HOST"));
    expect(app.requests).toHaveLength(0);
  });

  it("that are HTTP need an allowed request, not only an allowed tunnel", async () => {
    const egress = await start({ policies: allowOutbound("hosts: [api.test], methods: [CONNECT, GET]") });
    const client = await connectTo(egress, `api.test:${app.port}`);
    client.send("GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n");
    await client.until((text) => text.includes("GET /a"));
    client.send("DELETE /a HTTP/1.1\r\nHost: api.test\r\n\r\n");
    await client.until((text) => text.includes("403 Forbidden"));
    expect(app.requests).toHaveLength(1);
  });
});

describe("SOCKS5", () => {
  const port443 = (...address: readonly number[]): Uint8Array => Uint8Array.from([5, 1, 0, ...address, ...u16(443)]);
  it.each([
    ["port 22", socksName("api.test", 22), 2, "E_EGRESS_PORT"],
    ["a name without address", socksName("nowhere.test", 443), 4, "E_EGRESS_RESOLVE"],
    ["a name of a private address", socksName("db.test", 443), 2, "E_EGRESS_ADDRESS"],
    ["a metadata service", port443(1, 169, 254, 169, 254), 2, "E_EGRESS_ADDRESS"],
    ["loopback in IPv6", port443(4, ...Array.from({ length: 15 }, () => 0), 1), 2, "E_EGRESS_ADDRESS"],
    [
      "a metadata service in IPv4-mapped form",
      port443(4, ...Array.from({ length: 10 }, () => 0), 255, 255, 169, 254, 169, 254),
      2,
      "E_EGRESS_ADDRESS",
    ],
    ["a name with a NUL", socksName("api.test\0.x", 443), 2, "E_EGRESS_TARGET"],
    ["a name that is an address to some", socksName("0x7f.1", 443), 2, "E_EGRESS_TARGET"],
    ["a denied name", socksName("denied.example", 443), 2, "E_POLICY_DENIED_BY_DEFAULT"],
    ["BIND", Uint8Array.of(5, 2, 0, 1, 1, 2, 3, 4, 0, 80), 7, "E_EGRESS_SOCKS"],
    ["an unknown address type", Uint8Array.of(5, 1, 0, 9), 8, "E_EGRESS_SOCKS"],
  ])("to %s is refused by its reply", async (_name, request, expected, code) => {
    const egress = await start({
      forward: "ports: [443]",
      policies: allowOutbound('hosts: ["*.test", "169.254.169.254", "[::1]"]'),
      names: { "db.test": ["10.0.0.1"] },
    });
    const { client, reply } = await socksTo(egress, request);
    expect(reply).toBe(expected);
    await client.closed();
    expect(egress.sidecar.audit.ended).toMatchObject([{ reason: code }]);
  });

  it("where nobody listens says so", async () => {
    const closed = await startTcpApp(() => undefined);
    await closed.close();
    const egress = await start({ forward: `addresses: [127.0.0.0/8], ports: [${closed.port}]` });
    expect((await socksTo(egress, socksName("api.test", closed.port))).reply).toBe(5);
  });

  it("with a password only gets no method", async () => {
    const egress = await start();
    const client = await rawClient(egress.port);
    client.send(Uint8Array.of(5, 1, 2));
    expect(await client.closed()).toBe("\x05\xff");
    expect(egress.sidecar.audit.ended).toMatchObject([{ reason: "E_EGRESS_SOCKS" }]);
  });

  it.each([
    ["SOCKS4", Uint8Array.of(4, 1, 0, 80, 127, 0, 0, 1, 0), "E_EGRESS_SOCKS"],
    ["TLS to the proxy itself", Uint8Array.of(22, 3, 1, 0, 1), "E_EGRESS_TARGET"],
  ])("is not %s, which is refused", async (_name, bytes, code) => {
    const egress = await start();
    const client = await rawClient(egress.port);
    client.send(bytes);
    await client.closed();
    expect(egress.sidecar.audit.ended).toMatchObject([{ reason: code, kind: "refusal" }]);
  });
});

describe("a tunnel into the mesh", () => {
  async function startMeshed(
    protocol: "tcp" | "http",
    appPort: number,
  ): Promise<{ readonly egress: Egress; readonly target: string }> {
    const orders = await startTestSidecar({
      ca,
      svid: ca.issue({ spiffeId: ORDERS }),
      policies: ALLOW_WEB,
      config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${appPort}", protocol: ${protocol} }]`,
    });
    cleanups.push(() => orders.sidecar.drain(0));
    const target = `orders.test:${orders.port("in")}`;
    const egress = await start({
      forward: `hosts: { "${target}": "${ORDERS}" }, addresses: [127.0.0.0/8], ports: []`,
      names: { "orders.test": ["127.0.0.1"] },
      more: "timeouts: { classify: 100ms }",
    });
    return { egress, target };
  }

  it("carries any bytes inside mTLS, and names the identity in its record", async () => {
    const echo = await startTcpApp((socket) => socket.pipe(socket));
    cleanups.push(() => echo.close());
    const { egress, target } = await startMeshed("tcp", echo.port);
    const client = await connectTo(egress, target);
    client.send("\x01\x02opaque");
    await client.until((text) => text.endsWith("\x01\x02opaque"));
    client.socket.end();
    await client.closed();
    const record = await egress.sidecar.audit.next(() => true);
    expect(record).toMatchObject({
      kind: "connection",
      decision: "allow",
      authority: target,
      destination: { spiffeId: ORDERS },
    });
    expect(record.destinationAddress).toBe(target.replace("orders.test", "127.0.0.1"));
    expect(egress.sidecar.audit.ended).toHaveLength(1);
    expect(egress.sidecar.audit.open).toBe(0);
  });

  it("lets the server speak first", async () => {
    const greeter = await startTcpApp((socket) => socket.write("220 ready\r\n"));
    cleanups.push(() => greeter.close());
    const { egress, target } = await startMeshed("tcp", greeter.port);
    const { client, reply } = await socksTo(egress, socksName("orders.test", Number(target.split(":")[1])));
    expect(reply).toBe(0);
    await client.until((text) => text.endsWith("220 ready\r\n"));
  });

  it("carries an app's own TLS as bytes, whatever server that names", async () => {
    const { egress, target } = await startMeshed("tcp", server.port);
    const tls = await tlsInside(await connectTo(egress, target), "something.else");
    expect(await echoed(tls, "hello")).toBe("tls:hello");
  });

  it("serves HTTP/2 with prior knowledge, as gRPC clients speak it behind a CONNECT", async () => {
    const { egress, target } = await startMeshed("http", app.port);
    const client = await connectTo(egress, target);
    client.socket.removeAllListeners("data");
    const session = connectHttp2(`http://${target}`, { createConnection: () => client.socket });
    const stream = session.request({ ":path": "/h2", ":method": "GET" });
    let body = "";
    for await (const chunk of stream as AsyncIterable<Buffer>) body += chunk.toString("latin1");
    expect(body).toBe("GET /h2");
    session.destroy();
    expect(egress.sidecar.audit.ended).toMatchObject([
      { kind: "request", protocol: "http/2", path: "/h2", authority: target, destination: { spiffeId: ORDERS } },
    ]);
  });

  it("serves HTTP by mTLS request by request", async () => {
    const { egress, target } = await startMeshed("http", app.port);
    const { client } = await socksTo(egress, socksName("orders.test", Number(target.split(":")[1])));
    client.send(`GET /x HTTP/1.1\r\nHost: ${target}\r\nConnection: close\r\n\r\n`);
    expect(await client.closed()).toContain("GET /x");
    expect(app.requests[0]?.headers["x-forwarded-client-cert"]).toBeDefined();
    expect(egress.sidecar.audit.ended).toMatchObject([
      { kind: "request", path: "/x", destination: { spiffeId: ORDERS } },
    ]);
  });
});

describe("limits toward destinations", () => {
  const limited = (limit: string): Promise<Egress> => start({ listener: `upstream: { ${limit} }` });

  it.each(["maxRequests: 1", "maxConnections: 1"])(
    "of %s hold for tunnels and calls together, and are told",
    async (limit) => {
      const egress = await limited(limit);
      const first = await connectTo(egress, `api.test:${server.port}`);
      expect(first.received).toMatch(/^HTTP\/1.1 200 /);
      expect(upstreamOf(egress.sidecar, "egress")).toMatchObject({ active: 1, connections: 1, limited: 0 });
      const second = await connectTo(egress, `other.test:${server.port}`);
      expect(second.received).toMatch(/^HTTP\/1.1 503 E_UPSTREAM_LIMIT/);
      const { reply } = await socksTo(egress, socksName("api.test", server.port));
      expect(reply).toBe(1);
      expect(await ask(egress.port, `http://api.test:${app.port}/`)).toMatchObject({ status: 503 });
      expect(upstreamOf(egress.sidecar, "egress")).toMatchObject({ active: 1, limited: 3 });
      first.socket.destroy();
      await eventually(() => expect(upstreamOf(egress.sidecar, "egress").connections).toBe(0));
      expect(await ask(egress.port, `http://api.test:${app.port}/`)).toMatchObject({ status: 200 });
      expect(upstreamOf(egress.sidecar, "egress")).toMatchObject({ active: 0, pending: 0 });
    },
  );

  it("count a tunnel that carries HTTP by its calls alone", async () => {
    const egress = await limited("maxRequests: 1, maxConnections: 1");
    const client = await connectTo(egress, `api.test:${app.port}`);
    client.send(`GET /in HTTP/1.1\r\nHost: api.test:${app.port}\r\n\r\n`);
    expect(await client.until((text) => text.includes("GET /in"))).toMatch(/200 OK/);
    expect(upstreamOf(egress.sidecar, "egress")).toMatchObject({ active: 0, connections: 1, limited: 0 });
  });

  it("of a call's time hold", async () => {
    const silent = await startSilent();
    cleanups.push(() => silent.close());
    const egress = await limited("requestTimeout: 300ms");
    const answer = await ask(egress.port, `http://api.test:${silent.port}/`);
    expect([answer.status, answer.headers["x-countersign-code"]]).toEqual([504, "E_UPSTREAM_TIMEOUT"]);
  });

  it("show how destinations fare, by name and address", async () => {
    const egress = await limited("");
    expect(await ask(egress.port, `http://api.test:${app.port}/`)).toMatchObject({ status: 200 });
    const { endpoints, destinations } = upstreamOf(egress.sidecar, "egress");
    expect(endpoints).toMatchObject([
      { address: `127.0.0.1:${app.port}`, name: "api.test", state: "healthy", connections: 1, active: 0, failures: 0 },
    ]);
    expect(destinations).toEqual({ known: 1, ejected: 0, failures: 0, ejections: 0 });
  });
});
