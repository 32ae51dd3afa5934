import { createServer } from "node:net";
import { describe, expect, it } from "vitest";
import { bodyOf, startTcpApp } from "../support/app.ts";
import { appMesh } from "../support/app-mesh.ts";
import { atEnd } from "../support/at-end.ts";
import { createTestCa } from "../support/cert-factory.ts";
import { type Mesh, startMesh, startTestSidecar } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";

/** A mesh before an app that answers every request with these bytes and then does `after`. */
async function rawMesh(answer: string, after: "keep" | "end" | "reset"): Promise<Mesh> {
  const app = await startTcpApp((socket) => {
    socket.on("data", () => {
      socket.write(answer);
      if (after === "end") socket.end();
      if (after === "reset") setImmediate(() => socket.resetAndDestroy());
    });
  });
  atEnd(() => app.close());
  const made = await startMesh({ appPort: app.port });
  atEnd(() => made.close());
  return made;
}

const get = (path: string, more = ""): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;
const isAnswered = (received: string): boolean => received.endsWith(")\n");

describe("a caller", () => {
  it("that sends its head too slowly gets 408", async () => {
    const { port, outbound } = await appMesh((_, response) => response.end(), { both: "timeouts: { head: 300ms }" });
    const client = await rawClient(port);
    client.send("GET / HTTP/1.1\r\nHost:");
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 408 [\s\S]*E_REQUEST_TIMEOUT/);
    expect(await outbound.audit.next(() => true)).toMatchObject({ reason: "E_REQUEST_TIMEOUT" });
  });

  it("whose fields are too large gets 431, and its target too long 414", async () => {
    const { port, app } = await appMesh((_, response) => response.end());
    const large = await rawClient(port);
    large.send(get("/", `X: ${"a".repeat(70_000)}\r\n`));
    expect(await large.closed()).toMatch(/^HTTP\/1\.1 431 /);
    const long = await rawClient(port);
    long.send(get(`/${"a".repeat(20_000)}`));
    expect(await long.closed()).toMatch(/^HTTP\/1\.1 414 /);
    expect(app.requests).toHaveLength(0);
  });

  it("of HTTP/1.0 without Host gets 400 where policies compare hosts", async () => {
    const policies = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: hosts, namespace: shop }
spec: { rules: [{ to: [{ operation: { notHosts: [admin.shop] } }] }] }
`;
    const { meshPort, app, inbound } = await appMesh((_, response) => response.end(), {
      inbound: "mtls: permissive",
      policies,
    });
    const client = await rawClient(meshPort);
    client.send("GET / HTTP/1.0\r\n\r\n");
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 400 [\s\S]*E_HTTP_HOST/);
    expect(app.requests).toHaveLength(0);
    expect(await inbound.audit.next(() => true)).toMatchObject({ reason: "E_HTTP_HOST", status: 400 });
  });

  it("that idles is closed without a record", async () => {
    const { port, outbound } = await appMesh((_, response) => response.end("x"), { both: "timeouts: { idle: 300ms }" });
    const client = await rawClient(port);
    client.send(get("/"));
    await client.until((text) => text.endsWith("x"));
    await client.closed();
    expect(outbound.audit.ended).toHaveLength(1);
  });

  it("that half-closes after its request still gets the response", async () => {
    let answer = (): void => undefined;
    const { port, app } = await appMesh((_, response) => {
      answer = () => response.end("late");
    });
    const client = await rawClient(port);
    client.socket.end(get("/"));
    await new Promise<void>((resolve) => app.server.once("request", () => resolve()));
    setImmediate(() => answer());
    expect(await client.closed()).toMatch(/late$/);
  });

  it("that leaves in the middle of its body is recorded, and the app's request ends with it", async () => {
    const { port, app, inbound } = await appMesh((request) => {
      request.on("error", () => undefined);
      request.resume();
    });
    const client = await rawClient(port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
    const request = await new Promise<(typeof app.requests)[number]>((resolve) =>
      app.server.once("request", (one) => resolve(one)),
    );
    client.socket.destroy();
    await new Promise<void>((resolve) => request.once("close", () => resolve()));
    expect(request.complete).toBe(false);
    expect(await inbound.audit.next(() => true)).toMatchObject({ decision: "error", reason: "E_CALLER_GONE" });
  });

  it("over the connection limit is turned away and recorded", async () => {
    const { port, outbound } = await appMesh((_, response) => response.end("x"), {
      both: "limits: { connections: 1 }",
    });
    const first = await rawClient(port);
    first.send(get("/"));
    await first.until((text) => text.endsWith("x"));
    const second = await rawClient(port);
    await second.closed();
    expect(await outbound.audit.next(({ kind }) => kind === "refusal")).toMatchObject({ reason: "E_CONNECTION_LIMIT" });
    first.send(get("/"));
    await first.until((text) => text.split("HTTP/1.1 200").length === 3);
  });

  it("may speak plaintext to a permissive port, without an identity", async () => {
    const allowAll = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: all, namespace: shop }
spec: { rules: [{ to: [{ operation: { methods: [GET] } }] }] }
`;
    const { meshPort, app, inbound } = await appMesh((_, response) => response.end("x"), {
      inbound: "mtls: permissive",
      policies: allowAll,
    });
    const client = await rawClient(meshPort);
    client.send(get("/", "X-Forwarded-Client-Cert: URI=spiffe://evil/x\r\nX-Forwarded-Proto: https\r\n"));
    await client.until((text) => text.endsWith("x"));
    expect(app.requests[0]?.headers["x-forwarded-client-cert"]).toBeUndefined();
    expect(app.requests[0]?.headers["x-forwarded-proto"]).toBe("http");
    expect((await inbound.audit.next(() => true)).connection.source).toBeUndefined();
  });
});

describe("an app", () => {
  it("that answers too late is answered for with 504", async () => {
    const { port, inbound } = await appMesh(() => undefined, { inboundSide: "timeouts: { firstByte: 300ms }" });
    const client = await rawClient(port);
    client.send(get("/"));
    expect(await client.until(isAnswered)).toMatch(/^HTTP\/1\.1 504 [\s\S]*E_UPSTREAM_TIMEOUT/);
    expect(await inbound.audit.next(() => true)).toMatchObject({ reason: "E_UPSTREAM_TIMEOUT", status: 504 });
  });

  it.each([
    ["no HTTP at all", "hello\r\n\r\n"],
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"],
    ["length and chunked", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    ["a switch nobody asked for", "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"],
  ])("that answers with %s is answered for with 502", async (_, answer) => {
    const { port, inbound } = await rawMesh(answer, "keep");
    const client = await rawClient(port);
    client.send(get("/"));
    expect(await client.until(isAnswered)).toMatch(/^HTTP\/1\.1 502 [\s\S]*E_UPSTREAM_PROTOCOL/);
    expect(await inbound.audit.next(() => true)).toMatchObject({ reason: "E_UPSTREAM_PROTOCOL", decision: "error" });
  });

  it("that breaks off its response breaks the caller's: it is never taken for complete", async () => {
    const { port, inbound } = await rawMesh(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
      "reset",
    );
    const client = await rawClient(port);
    client.send(get("/"));
    const answer = await client.closed();
    expect(answer).not.toContain("0\r\n\r\n");
    expect(await inbound.audit.next(() => true)).toMatchObject({ decision: "error", reason: "E_UPSTREAM_CLOSED" });
  });

  it("whose body ends with its connection is relayed in chunks", async () => {
    const { port } = await rawMesh("HTTP/1.1 200 OK\r\n\r\nuntil the end", "end");
    const client = await rawClient(port);
    client.send(get("/"));
    expect(await client.until((text) => text.endsWith("0\r\n\r\n"))).toContain("until the end");
  });

  it("that closes an idle connection costs no call: an idempotent one is sent again", async () => {
    let served = 0;
    const app = await startTcpApp((socket) => {
      socket.on("data", () => {
        served++;
        // the second request of a connection finds it closed, as in the usual keep-alive race
        if (served === 2) socket.resetAndDestroy();
        else socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      });
    });
    atEnd(() => app.close());
    const made = await startMesh({ appPort: app.port });
    atEnd(() => made.close());
    const client = await rawClient(made.port);
    client.send(get("/1"));
    await client.until((text) => text.endsWith("ok"));
    client.send(get("/2"));
    await client.until((text) => text.split("HTTP/1.1 200 OK").length === 3);
    expect(await made.inbound.audit.next(({ path }) => path === "/2")).toMatchObject({ retries: 1, status: 200 });
  });

  it("that answers before the body is sent ends the exchange without mixing it into the next", async () => {
    const { port, app } = await appMesh((_, response) => {
      response.statusCode = 413;
      response.end("enough");
    });
    const client = await rawClient(port);
    client.send(
      "POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 413 /);
    expect(app.requests.map(({ url }) => url)).toEqual(["/big"]);
  });

  it("that reads slowly holds its caller back, and gets every byte", async () => {
    let release = (): void => undefined;
    const { port } = await appMesh((request, response) => {
      release = () => void bodyOf(request).then((body) => response.end(`got ${body.length}`));
    });
    const client = await rawClient(port);
    const size = 24 * 1024 * 1024;
    client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`);
    const chunk = Buffer.alloc(64 * 1024, "x");
    for (let sent = 0; sent < size; sent += chunk.length) client.send(chunk);
    let before = -1;
    await new Promise<void>((resolve) => {
      const look = setInterval(() => {
        if (client.socket.bytesWritten - client.socket.writableLength === before) {
          clearInterval(look);
          resolve();
        }
        before = client.socket.bytesWritten - client.socket.writableLength;
      }, 300);
    });
    expect(client.socket.writableLength).toBeGreaterThan(0);
    release();
    expect(await client.until((text) => text.includes("got "))).toContain(`got ${size}`);
  });
});

describe("a sidecar", () => {
  it("cuts what is still open at the drain deadline and says how many", async () => {
    const { port, inbound } = await appMesh((_, response) => void response.write("begin"));
    const client = await rawClient(port);
    client.send(get("/"));
    await client.until((text) => text.includes("begin"));
    expect(await inbound.sidecar.drain(300)).toBe(1);
    await client.closed();
    expect(await inbound.audit.next(() => true)).toMatchObject({ reason: "E_DRAIN_CUT" });
  });

  it("does not open at all when one of its listeners cannot", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    atEnd(() => new Promise((resolve) => taken.close(resolve)));
    const address = taken.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const ca = createTestCa("example.org");
    const listeners = `inbound:
  - { name: good, listen: "127.0.0.1:0", app: "127.0.0.1:1", protocol: http }
  - { name: bad, listen: "127.0.0.1:${port}", app: "127.0.0.1:1", protocol: http }`;
    await expect(startTestSidecar({ ca, svid: undefined, config: listeners })).rejects.toMatchObject({
      code: "E_LISTEN",
    });
  });
});
