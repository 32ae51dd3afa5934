import { createHash } from "node:crypto";
import { once } from "node:events";
import { type ClientHttp2Session, connect, createServer as createHttp2Server } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { startApp, startTcpApp } from "../support/app.ts";
import { allowOutbound } from "../support/egress.ts";
import type { MemoryAudit } from "../support/memory-audit.ts";
import { ALLOW_WEB, type Mesh, startMesh } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";

// A new policy, or time, ends what is no longer allowed, whatever protocol it speaks.

/** The longest that a call may outlive its permission. */
const WITHIN_MS = 1000;

const get = (path: string, lines = ""): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n${lines}\r\n`;

interface Open {
  readonly mesh: Mesh;
  /** Resolves when the app's caller sees the end. */
  readonly closed: Promise<unknown>;
}

async function meshTo(appPort: number, protocol: string, policies: string): Promise<Mesh> {
  const mesh = await startMesh({ appPort, protocol, policies });
  onTestFinished(() => mesh.close());
  return mesh;
}

const kinds: Readonly<Record<string, (policies: string) => Promise<Open>>> = {
  "an HTTP/1.1 download": async (policies) => {
    const app = await startApp((_, response) => void response.write("begin"));
    onTestFinished(() => app.close());
    const mesh = await meshTo(app.port, "http", policies);
    const client = await rawClient(mesh.port);
    client.send(get("/slow"));
    await client.until((text) => text.includes("begin"));
    return { mesh, closed: client.closed() };
  },
  "an HTTP/1.1 upload": async (policies) => {
    const app = await startApp((request) => void request.resume());
    onTestFinished(() => app.close());
    const arrived = once(app.server, "request");
    const mesh = await meshTo(app.port, "http", policies);
    const client = await rawClient(mesh.port);
    client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin");
    await arrived;
    return { mesh, closed: client.closed() };
  },
  "a WebSocket": async (policies) => {
    const app = await startApp((_, response) => response.end());
    onTestFinished(() => app.close());
    app.server.on("upgrade", (request, socket: Socket) => {
      const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
      const accept = createHash("sha1").update(key).digest("base64");
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
    });
    const mesh = await meshTo(app.port, "http", policies);
    const client = await rawClient(mesh.port);
    const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    client.send(get("/chat", `${upgrade}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n`));
    await client.until((text) => text.includes("101 Switching"));
    return { mesh, closed: client.closed() };
  },
  "an HTTP/2 stream": async (policies) => {
    const server = createHttp2Server((_, response) => void response.write("begin"));
    server.on("sessionError", () => undefined);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => void server.close());
    const mesh = await meshTo((server.address() as AddressInfo).port, "http", policies);
    const session: ClientHttp2Session = connect(`http://127.0.0.1:${mesh.port}`);
    session.on("error", () => undefined);
    onTestFinished(() => session.destroy());
    const stream = session.request({ ":path": "/slow" });
    const closed = new Promise((resolve) => stream.once("close", resolve));
    stream.on("error", () => undefined);
    await once(stream, "data");
    stream.resume();
    return { mesh, closed };
  },
  "a TCP connection": async (policies) => {
    const app = await startTcpApp((socket) => socket.on("data", (chunk: Buffer) => socket.write(chunk)));
    onTestFinished(() => app.close());
    const mesh = await meshTo(app.port, "tcp", policies);
    const client = await rawClient(mesh.port);
    client.send("a");
    await client.until((text) => text === "a");
    return { mesh, closed: client.closed() };
  },
};
const names = Object.keys(kinds);

async function open(name: string, policies: string = ALLOW_WEB): Promise<Open> {
  const start = kinds[name];
  if (start === undefined) throw new TypeError(name);
  return start(policies);
}

/** The record that says that policy ended it. */
const denial = (audit: MemoryAudit) => audit.next(({ decision }) => decision === "deny");

const DENY_OUTBOUND = `apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: stop, namespace: shop }
spec:
  direction: OUTBOUND
  action: DENY
  rules:
    - to: [{ operation: { principals: [example.org/ns/shop/sa/orders] } }]
`;

/** Web may call until that time. */
const until = (ms: number): string =>
  ALLOW_WEB.replace("security.istio.io/v1", "countersign.dev/v1").replace(
    "    - from:",
    `    - conditions: "time < timestamp('${new Date(ms).toISOString()}')"\n      from:`,
  );

describe.each(names)("%s", (name) => {
  it("ends when a new policy of the callee no longer allows it", async () => {
    const { mesh, closed } = await open(name);
    const began = performance.now();
    mesh.inbound.setPolicies(ALLOW_WEB.replace("sa/web", "sa/other"));
    await closed;
    expect(performance.now() - began).toBeLessThan(WITHIN_MS);
    expect(await denial(mesh.inbound.audit)).toMatchObject({
      reason: "E_POLICY_DENIED_BY_DEFAULT",
      close: expect.stringMatching(/^(?:policy-changed|E_POLICY_DENIED_BY_DEFAULT)$/),
      nearest: { field: "from[0].source.principals" },
    });
  });

  it("ends when a new policy of the caller no longer allows it", async () => {
    const { mesh, closed } = await open(name);
    const began = performance.now();
    mesh.outbound.setPolicies(DENY_OUTBOUND);
    await closed;
    expect(performance.now() - began).toBeLessThan(WITHIN_MS);
    expect(await denial(mesh.outbound.audit)).toMatchObject({
      reason: "E_POLICY_DENIED_BY_RULE",
      rule: "ns[shop]-policy[stop]-rule[0]",
    });
  });

  it("ends when its time is over, under the policy that let it in", async () => {
    const end = Date.now() + 1500;
    const { mesh, closed } = await open(name, until(end));
    await closed;
    expect(Date.now()).toBeGreaterThanOrEqual(end);
    expect(Date.now() - end).toBeLessThan(WITHIN_MS);
    expect(await denial(mesh.inbound.audit)).toMatchObject({ reason: "E_POLICY_DENIED_BY_DEFAULT" });
  });

  it("stays under a new policy that allows it", async () => {
    const { mesh, closed } = await open(name);
    let over = false;
    void closed.then(() => {
      over = true;
    });
    mesh.inbound.setPolicies(
      `${ALLOW_WEB}      to: [{ operation: { ports: ["${mesh.inbound.config.inbound[0]?.appPort}"] } }]\n`,
    );
    mesh.outbound.setPolicies(allowOutbound("principals: [example.org/ns/shop/sa/orders]"));
    await new Promise((resolve) => setImmediate(resolve));
    expect(over).toBe(false);
    expect([...mesh.inbound.audit.ended, ...mesh.outbound.audit.ended]).toEqual([]);
  });
});

describe("a path that may be read in two ways", () => {
  it("ends an outbound call that is open, once OUTBOUND policies look at paths", async () => {
    const app = await startApp((_, response) => void response.write("begin"));
    onTestFinished(() => app.close());
    const mesh = await meshTo(app.port, "http", ALLOW_WEB);
    const client = await rawClient(mesh.port);
    client.send(get("/a/..%2Fb?%c3"));
    await client.until((text) => text.includes("begin"));
    mesh.outbound.setPolicies(allowOutbound("methods: [GET]"));
    mesh.outbound.setPolicies(allowOutbound("paths: [/a/*]"));
    await client.closed();
    expect(await denial(mesh.outbound.audit)).toMatchObject({ reason: "E_PATH_AMBIGUOUS", close: "policy-changed" });
    expect(app.requests).toHaveLength(1);
  });
});

describe("a call that names no host", () => {
  it("ends once policies compare hosts", async () => {
    const answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n";
    const app = await startTcpApp((socket) => socket.once("data", () => socket.write(answer)));
    onTestFinished(() => app.close());
    const policies = ALLOW_WEB.replace(/ {4}- from.*/, "    - to: [{ operation: { methods: [GET] } }]");
    const inbound = "mtls: permissive";
    const mesh = await startMesh({ appPort: app.port, protocol: "http", policies, inbound });
    onTestFinished(() => mesh.close());
    const client = await rawClient(mesh.meshPort);
    client.send("GET / HTTP/1.0\r\n\r\n");
    await client.until((text) => text.includes("begin"));
    mesh.inbound.setPolicies(policies.replace("methods: [GET]", 'methods: [GET], notHosts: ["admin.example"]'));
    await client.closed();
    expect(await denial(mesh.inbound.audit)).toMatchObject({ reason: "E_HTTP_HOST", close: "policy-changed" });
  });
});

describe("OUTBOUND policies at a configured destination", () => {
  const NEVER = allowOutbound("principals: [example.org/ns/shop/sa/payments]");

  it.each<[string, string, number]>([
    ["name who answers", allowOutbound("principals: [example.org/ns/shop/sa/orders]"), 200],
    ["name somebody else", NEVER, 403],
    ["name the method and path", allowOutbound('methods: [GET], paths: ["/orders/{*}"]'), 200],
    ["name another path", allowOutbound("paths: [/admin]"), 403],
    ["deny who answers", DENY_OUTBOUND, 403],
    [
      "hold now",
      allowOutbound("methods: [GET]").replace(
        "    - to:",
        "    - conditions: \"time > timestamp('2020-01-01T00:00:00Z')\"\n      to:",
      ),
      200,
    ],
  ])("that %s decide", async (_, policies, status) => {
    const app = await startApp((__, response) => response.end("ok"));
    onTestFinished(() => app.close());
    const mesh = await meshTo(app.port, "http", ALLOW_WEB);
    mesh.outbound.setPolicies(policies);
    const client = await rawClient(mesh.port);
    client.send(get("/orders/7"));
    await client.until((text) => text.startsWith(`HTTP/1.1 ${status} `));
    expect(app.requests).toHaveLength(status === 200 ? 1 : 0);
  });

  it("refuse a path that they would read differently in its plain form, and rewrite none", async () => {
    const app = await startApp((_, response) => response.end("ok"));
    onTestFinished(() => app.close());
    const mesh = await meshTo(app.port, "http", ALLOW_WEB);
    mesh.outbound.setPolicies(allowOutbound("paths: [/open/*, /x/*]"));
    const client = await rawClient(mesh.port);
    client.send(get("/open/../admin"));
    await client.until((text) => text.includes("E_PATH_AMBIGUOUS") && text.startsWith("HTTP/1.1 400 "));
    expect(app.requests).toHaveLength(0);
    const other = await rawClient(mesh.port);
    other.send(get("/x/%41"));
    await other.until((text) => text.startsWith("HTTP/1.1 200 "));
  });
});
