import { connect as connectHttp2, type IncomingHttpHeaders } from "node:http2";
import { describe, expect, it } from "vitest";
import { webSocketAccept } from "../../src/proxy/http1/websocket-accept.ts";
import { startTcpApp } from "../support/app.ts";
import { appMesh } from "../support/app-mesh.ts";
import { type Answer, ask } from "../support/ask.ts";
import { atEnd } from "../support/at-end.ts";
import { createTestCa } from "../support/cert-factory.ts";
import { type Mesh, type MeshOptions, startMesh, TRUST_DOMAIN } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";
import { startSilent, startWeb, upstreamOf } from "../support/upstream-servers.ts";

/** "Within 100 ms", and what a busy machine may add. */
const SOON_MS = 100 + 150;

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

async function quickly<T>(work: Promise<T>): Promise<T> {
  const begun = performance.now();
  const result = await work;
  expect(performance.now() - begun).toBeLessThan(SOON_MS);
  return result;
}

/** The headers that a gRPC call is answered with, on a connection of its own. */
function grpcCall(port: number): Promise<IncomingHttpHeaders> {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  atEnd(() => new Promise<void>((resolve) => session.close(() => resolve())));
  return new Promise((resolve, reject) => {
    session.on("error", reject);
    const call = session.request({
      ":method": "POST",
      ":path": "/shop.Orders/Get",
      "content-type": "application/grpc",
      te: "trailers",
    });
    call.on("response", resolve);
    call.on("error", reject);
    call.resume();
    call.end();
  });
}

function code({ status, headers }: Answer): unknown {
  return [status, headers["x-countersign-code"]];
}

/** An app whose answers wait until `finish`. */
async function waitingMesh(
  options: Omit<MeshOptions, "appPort">,
): Promise<Mesh & { readonly arrived: () => Promise<void>; readonly finish: () => void }> {
  const open: (() => void)[] = [];
  const made = await appMesh((_, response) => open.push(() => response.end("done")), options);
  return {
    ...made,
    arrived: () => new Promise((resolve) => made.app.server.once("request", () => resolve())),
    finish: () => {
      for (const end of open.splice(0)) end();
    },
  };
}

describe("an upstream's limit", () => {
  it.each([
    ["maxRequests", "upstream: { maxRequests: 1 }", "http"],
    ["maxConnections", "upstream: { maxConnections: 1 }", "http1"],
  ])("%s turns the next call away at once while the first goes on", async (_, inbound, protocol) => {
    const made = await waitingMesh({ inbound, protocol });
    const first = ask(made.port, "/");
    await made.arrived();
    expect(code(await quickly(ask(made.port, "/")))).toEqual([503, "E_UPSTREAM_LIMIT"]);
    made.finish();
    expect((await first).body).toBe("done");
    expect(await made.inbound.audit.next(({ reason }) => reason === "E_UPSTREAM_LIMIT")).toMatchObject({ status: 503 });
    expect(upstreamOf(made.inbound, "in")).toMatchObject({ limited: 1, active: 0 });
    const again = ask(made.port, "/");
    await made.arrived();
    made.finish();
    expect((await again).status).toBe(200);
  });

  it("is RESOURCE_EXHAUSTED to gRPC", async () => {
    const made = await waitingMesh({ outbound: "upstream: { maxRequests: 1 }" });
    const first = ask(made.port, "/");
    await made.arrived();
    expect(await quickly(grpcCall(made.port))).toMatchObject({
      "grpc-status": "8",
      "x-countersign-code": "E_UPSTREAM_LIMIT",
    });
    made.finish();
    await first;
  });

  it("maxPending turns calls away that would wait for a connection", async () => {
    const silent = await startSilent();
    atEnd(() => silent.close());
    const out = await startWeb(createTestCa(TRUST_DOMAIN), [`127.0.0.1:${silent.port}`], {
      more: "upstream: { maxPending: 2 }",
      top: "timeouts: { handshake: 1s }",
    });
    atEnd(() => out.sidecar.drain(0));
    const waiting = [ask(out.port("out"), "/"), ask(out.port("out"), "/")];
    await untilTrue(() => upstreamOf(out, "out").pending === 2);
    expect(code(await quickly(ask(out.port("out"), "/")))).toEqual([503, "E_UPSTREAM_LIMIT"]);
    for (const one of waiting) expect(code(await one)).toEqual([502, "E_UPSTREAM_HANDSHAKE"]);
    expect(upstreamOf(out, "out")).toMatchObject({ pending: 0, connections: 0 });
  });

  it("counts TCP connections, which are closed", async () => {
    const app = await startTcpApp((socket) => socket.pipe(socket));
    atEnd(() => app.close());
    const made = await startMesh({ appPort: app.port, protocol: "tcp", inbound: "upstream: { maxRequests: 1 }" });
    atEnd(() => made.close());
    const first = await rawClient(made.port);
    first.send("a");
    await first.until((text) => text === "a");
    const second = await rawClient(made.port);
    second.send("b");
    expect(await second.closed()).toBe("");
    expect(await made.inbound.audit.next(({ reason }) => reason === "E_UPSTREAM_LIMIT")).toMatchObject({
      kind: "connection",
    });
    first.send("c");
    await first.until((text) => text === "ac");
  });
});

async function untilTrue(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise<void>((resolve) => void setImmediate(resolve));
}

describe("a time limit of the upstream", () => {
  it("requestTimeout answers 504 where nothing has been answered, and breaks off what has", async () => {
    const { port, outbound } = await appMesh(
      (request, response) => {
        if (request.url === "/begun") response.write("first ");
      },
      { outbound: "upstream: { requestTimeout: 300ms }" },
    );
    expect(code(await ask(port, "/"))).toEqual([504, "E_UPSTREAM_TIMEOUT"]);
    const client = await rawClient(port);
    client.send("GET /begun HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(await client.closed()).toMatch(/first \r\n$/);
    expect(await outbound.audit.next(({ path }) => path === "/begun")).toMatchObject({ reason: "E_UPSTREAM_TIMEOUT" });
  });

  it("streamTimeout ends a call without bytes, and none that goes on", async () => {
    let ticks = 0;
    const { port, outbound } = await appMesh(
      (request, response) => {
        response.write("first ");
        if (request.url === "/silent") return;
        const timer = setInterval(() => {
          ticks++;
          response.write("tick ");
          if (ticks < 8) return;
          clearInterval(timer);
          response.end("last");
        }, 100);
      },
      { outbound: "upstream: { streamTimeout: 400ms }" },
    );
    const [silent, lively] = [await rawClient(port), await rawClient(port)];
    silent.send("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n");
    lively.send(get);
    expect(await silent.closed()).toMatch(/first \r\n$/);
    await lively.until((text) => text.endsWith("last\r\n0\r\n\r\n"));
    expect(await outbound.audit.next(({ path }) => path === "/silent")).toMatchObject({ reason: "E_UPSTREAM_TIMEOUT" });
  });

  it("leaves WebSockets alone", async () => {
    const app = await startTcpApp((socket) =>
      socket.once("data", (head: Buffer) => {
        const key = /sec-websocket-key: (\S+)/i.exec(head.toString("latin1"))?.[1];
        if (key === undefined) return;
        socket.write(
          `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${webSocketAccept(key)}\r\n\r\n`,
        );
        socket.on("data", (bytes) => socket.write(bytes));
      }),
    );
    atEnd(() => app.close());
    const limited = "upstream: { requestTimeout: 200ms, streamTimeout: 200ms }";
    const made = await startMesh({ appPort: app.port, outbound: limited, inbound: limited });
    atEnd(() => made.close());
    const client = await rawClient(made.port);
    client.send(
      "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    await client.until((text) => text.includes("\r\n\r\n"));
    // an ordinary call, begun later, is over by the same limits
    expect((await ask(made.port, "/")).status).toBe(504);
    client.send("ping");
    await client.until((text) => text.endsWith("ping"));
  });
});

describe("at the listener's limit of connections", () => {
  it("a new HTTP/1.1 call is told so by 503 while open connections go on", async () => {
    const made = await appMesh((_, response) => response.end("x"), { both: "limits: { connections: 1 }" });
    const first = await rawClient(made.port);
    first.send(get);
    await first.until((text) => text.endsWith("x"));
    const second = await rawClient(made.port);
    second.send(get);
    expect(await quickly(second.closed())).toMatch(
      /^HTTP\/1\.1 503 [\s\S]*connection: close[\s\S]*E_CONNECTION_LIMIT/i,
    );
    first.send(get);
    await first.until((text) => text.split("HTTP/1.1 200").length === 3);
    expect(await made.outbound.audit.next(({ kind }) => kind === "refusal")).toMatchObject({
      reason: "E_CONNECTION_LIMIT",
    });
    expect(await made.outbound.audit.next(({ status }) => status === 503)).toMatchObject({
      reason: "E_CONNECTION_LIMIT",
    });
    expect(made.app.requests).toHaveLength(2);
  });

  it("a new gRPC call is told so by RESOURCE_EXHAUSTED", async () => {
    const made = await appMesh((_, response) => response.end("x"), { both: "limits: { connections: 1 }" });
    const first = await rawClient(made.port);
    first.send(get);
    await first.until((text) => text.endsWith("x"));
    expect(await quickly(grpcCall(made.port))).toMatchObject({
      "grpc-status": "8",
      "x-countersign-code": "E_CONNECTION_LIMIT",
    });
  });

  it("a new call of the mesh is told so, by mutual TLS", async () => {
    const made = await appMesh((_, response) => response.end("x"), { inboundSide: "limits: { connections: 1 }" });
    expect((await ask(made.port, "/")).body).toBe("x");
    const other = await startWeb(made.ca, [`127.0.0.1:${made.meshPort}`]);
    atEnd(() => other.sidecar.drain(0));
    expect(code(await quickly(ask(other.port("out"), "/")))).toEqual([503, "E_CONNECTION_LIMIT"]);
    expect((await ask(made.port, "/")).body).toBe("x");
  });

  it("who comes by the hundreds gets an answer or a closed connection at once, and who is served stays served", async () => {
    const made = await appMesh((_, response) => response.end("x"), { both: "limits: { connections: 1 }" });
    const first = await rawClient(made.port);
    const crowd = await Promise.all(
      Array.from({ length: 200 }, async () => {
        const client = await rawClient(made.port);
        client.socket.write(get);
        return client.closed();
      }),
    );
    const told = crowd.filter((text) => text.startsWith("HTTP/1.1 503 ")).length;
    expect(told).toBeGreaterThanOrEqual(32);
    expect(crowd.filter((text) => text !== "" && !text.startsWith("HTTP/1.1 503 "))).toEqual([]);
    first.send(get);
    await first.until((text) => text.endsWith("x"));
    expect(made.app.requests).toHaveLength(1);
  });
});

describe("above the limit of memory", () => {
  it("new calls are turned away by 503 and RESOURCE_EXHAUSTED, open ones go on", async () => {
    const made = await waitingMesh({});
    const open = ask(made.port, "/");
    await made.arrived();
    await setMemory(made, "1MiB");
    await untilTrue(() => made.outbound.sidecar.overloaded);
    const client = await rawClient(made.port);
    client.send(get);
    expect(await quickly(client.until((text) => text.endsWith(")\n")))).toMatch(/^HTTP\/1\.1 503 [\s\S]*E_OVERLOADED/);
    expect(await quickly(grpcCall(made.port))).toMatchObject({
      "grpc-status": "8",
      "x-countersign-code": "E_OVERLOADED",
    });
    made.finish();
    expect((await open).body).toBe("done");
    await setMemory(made, "0B");
    await untilTrue(() => !made.outbound.sidecar.overloaded);
    const later = made.arrived();
    client.send(get);
    await later;
    made.finish();
    await client.until((text) => text.endsWith("done"));
  });

  it("new TCP connections are closed before they reach the app, open ones go on", async () => {
    const app = await startTcpApp((socket) => socket.pipe(socket));
    atEnd(() => app.close());
    const made = await startMesh({ appPort: app.port, protocol: "tcp" });
    atEnd(() => made.close());
    const first = await rawClient(made.port);
    first.send("a");
    await first.until((text) => text === "a");
    await setMemory(made, "1MiB");
    await untilTrue(() => made.outbound.sidecar.overloaded);
    // its end may be there before its beginning has been told
    const second = rawClient(made.port).then(
      (client) => client.closed(),
      () => "",
    );
    expect(await quickly(second)).toBe("");
    expect(await made.outbound.audit.next(({ reason }) => reason === "E_OVERLOADED")).toMatchObject({
      decision: "error",
    });
    first.send("c");
    await first.until((text) => text === "ac");
    expect(app.sockets).toHaveLength(1);
  });
});

async function setMemory({ outbound }: Mesh, memory: string): Promise<void> {
  const { config } = outbound;
  const limit = memory === "0B" ? 0 : 1024 * 1024;
  await outbound.sidecar.setConfig({ ...config, limits: { ...config.limits, memory: limit } }, outbound.compile(""));
}
