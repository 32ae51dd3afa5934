import { createHash } from "node:crypto";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { describe, expect, it } from "vitest";
import { startApp, startTcpApp } from "../support/app.ts";
import { atEnd } from "../support/at-end.ts";
import { type CheckReply, startExtAuthzServer } from "../support/ext-authz-server.ts";
import { FLAG, FRAME, frame, headers, requestFields } from "../support/http2-frames.ts";
import { type Http2RawClient, http2RawClient } from "../support/http2-raw-client.ts";
import { ALLOW_WEB, type Mesh, type MeshOptions, startMesh, WEB } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";

type Http2Handler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/** An app that speaks HTTP/2 without TLS and nothing else. */
async function http2App(handler: Http2Handler): Promise<number> {
  const server = createServer();
  const sessions = new Set<{ destroy(): void }>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => undefined);
  });
  server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    stream.on("error", () => undefined);
    handler(stream, headers);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  atEnd(async () => {
    for (const session of sessions) session.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

async function mesh(options: MeshOptions): Promise<Mesh> {
  const made = await startMesh(options);
  atEnd(() => made.close());
  return made;
}

function session(port: number): ClientHttp2Session {
  const made = connect(`http://127.0.0.1:${port}`);
  made.on("error", () => undefined);
  atEnd(
    () =>
      new Promise<void>((resolve) => {
        if (made.destroyed) resolve();
        else {
          made.once("close", resolve);
          made.destroy();
        }
      }),
  );
  return made;
}

interface Answer {
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly body: string;
}

/** The whole answer; rejects with the reset's code. */
function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let headers: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders = {};
    let body = "";
    stream.on("response", (got) => {
      headers = got;
    });
    stream.on("trailers", (got) => {
      trailers = got;
    });
    stream.on("data", (chunk: Buffer) => {
      body += chunk.toString("latin1");
    });
    stream.on("error", reject);
    stream.on("close", () => {
      if (stream.rstCode === 0) resolve({ headers, trailers, body });
      else reject(new Error(`reset ${stream.rstCode}`));
    });
  });
}

describe("an app that speaks HTTP/2", () => {
  it("reaches another one in HTTP/2, with bodies and trailers both ways", async () => {
    const port = await http2App((stream, headers) => {
      let got = "";
      let sum: unknown;
      stream.on("data", (chunk: Buffer) => {
        got += chunk.toString();
      });
      stream.on("trailers", (trailers) => {
        sum = trailers["x-in"];
      });
      stream.on("end", () => {
        stream.respond({ ":status": 200, "x-path": headers[":path"] as string }, { waitForTrailers: true });
        stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": String(sum) }));
        stream.end(`${headers[":authority"]} ${got}`);
      });
    });
    const { port: outPort, inbound, outbound } = await mesh({ appPort: port });
    const stream = session(outPort).request(
      { ":method": "POST", ":path": "/a?b=c", ":authority": "orders.shop" },
      { waitForTrailers: true },
    );
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-in": "9" }));
    stream.end("hello");
    const { headers, body, trailers } = await answerOf(stream);
    expect(headers).toMatchObject({ ":status": 200, "x-path": "/a?b=c" });
    expect(body).toBe("orders.shop hello");
    expect(trailers["x-sum"]).toBe("9");
    expect(await inbound.audit.next(() => true)).toMatchObject({
      protocol: "http/2",
      path: "/a",
      bytesIn: 5,
      status: 200,
    });
    expect(await outbound.audit.next(() => true)).toMatchObject({ protocol: "http/2", method: "POST" });
  });

  it("shares one mTLS connection with all its calls", async () => {
    const port = await http2App((stream) => {
      stream.respond({ ":status": 200 });
      stream.end("x");
    });
    const { port: outPort, inbound } = await mesh({ appPort: port });
    const client = session(outPort);
    const answers = await Promise.all(Array.from({ length: 90 }, () => answerOf(client.request({ ":path": "/" }))));
    expect(answers.every(({ body }) => body === "x")).toBe(true);
    expect(inbound.sidecar.listeners[0]?.connections).toBe(1);
  });

  it("gets what an HTTP/1.1 app answers, with cookie crumbs as one line there", async () => {
    let seen: unknown;
    const app = await startApp((request, response) => {
      seen = [request.httpVersion, request.headers.cookie, request.headers.host, request.rawHeaders.includes("te")];
      response.setHeader("Connection", "keep-alive");
      response.end("plain");
    });
    atEnd(() => app.close());
    const { port } = await mesh({ appPort: app.port, appProtocol: "http1" });
    const stream = session(port).request({
      ":path": "/",
      ":authority": "a.b:80",
      cookie: ["a=1", "b=2"],
      te: "trailers",
    });
    const { headers, body } = await answerOf(stream);
    expect([headers[":status"], body]).toEqual([200, "plain"]);
    expect(headers.connection).toBeUndefined();
    expect(seen).toEqual(["1.1", "a=1; b=2", "a.b:80", false]);
  });

  it("gets what an app answers that turns out to speak HTTP/1.1 only", async () => {
    const app = await startApp((request, response) => response.end(`1.1 ${request.url}`));
    atEnd(() => app.close());
    const { port } = await mesh({ appPort: app.port });
    const client = session(port);
    expect((await answerOf(client.request({ ":path": "/a" }))).body).toBe("1.1 /a");
    expect((await answerOf(client.request({ ":path": "/b" }))).body).toBe("1.1 /b");
  });

  it("is not made an HTTP/1.1 one by a field that a stranger sends", async () => {
    const port = await http2App((stream) => {
      stream.respond({ ":status": 200 });
      stream.end("HTTP/2");
    });
    const policies = ALLOW_WEB.replace(/- from: .*/, "- {}");
    const { meshPort } = await mesh({ appPort: port, inbound: "mtls: permissive", policies });
    const stream = session(meshPort).request({ ":path": "/", "x-countersign-http": "1" });
    expect((await answerOf(stream)).body).toBe("HTTP/2");
  });

  it("gets what such an app answers although that never said a word to HTTP/2", async () => {
    const app = await startTcpApp((socket) => {
      let got = "";
      socket.on("data", (chunk: Buffer) => {
        got += chunk.toString("latin1");
        if (got.startsWith("GET ")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      });
    });
    atEnd(() => app.close());
    const { port } = await mesh({ appPort: app.port, both: "timeouts: { connect: 300ms }" });
    expect((await answerOf(session(port).request({ ":path": "/" }))).body).toBe("ok");
  });

  it("hears in gRPC's own words that such an app can't be reached by gRPC", async () => {
    const app = await startApp((_, response) => response.end("no"));
    atEnd(() => app.close());
    const { port } = await mesh({ appPort: app.port });
    const stream = session(port).request({
      ":method": "POST",
      ":path": "/pkg.Greeter/Hi",
      "content-type": "application/grpc",
    });
    stream.end();
    const { headers } = await answerOf(stream);
    expect(headers).toMatchObject({
      ":status": 200,
      "grpc-status": "14",
      "x-countersign-code": "E_UPSTREAM_NOT_HTTP2",
    });
  });

  it("hears of a denial in gRPC's own words, and audit names service and method", async () => {
    const port = await http2App((stream) => stream.respond({ ":status": 200 }, { endStream: true }));
    const { port: outPort, inbound } = await mesh({ appPort: port, policies: ALLOW_WEB.replace("sa/web", "sa/other") });
    const stream = session(outPort).request({
      ":method": "POST",
      ":path": "/pkg.Greeter/Hi",
      "content-type": "application/grpc+proto",
    });
    stream.end();
    const { headers, body } = await answerOf(stream);
    expect(headers).toMatchObject({ ":status": 200, "content-type": "application/grpc", "grpc-status": "7" });
    expect(headers["grpc-message"]).toMatch(/^countersign: E_POLICY_DENIED_BY_DEFAULT \(decision /);
    expect(body).toBe("");
    expect(await inbound.audit.next(() => true)).toMatchObject({
      grpcService: "pkg.Greeter",
      grpcMethod: "Hi",
      grpcStatus: 7,
      decision: "deny",
    });
  });
});

describe("a call that is given up", () => {
  it("by its caller ends at an HTTP/2 app with CANCEL, and other calls go on", async () => {
    let code: (value: number) => void = () => undefined;
    const reset = new Promise<number>((resolve) => {
      code = resolve;
    });
    const port = await http2App((stream, headers) => {
      stream.respond({ ":status": 200 });
      if (headers[":path"] === "/long") {
        stream.write("a");
        stream.on("close", () => code(stream.rstCode ?? -1));
      } else stream.end("b");
    });
    const { port: outPort, inbound } = await mesh({ appPort: port });
    const client = session(outPort);
    const long = client.request({ ":path": "/long" });
    await new Promise((resolve) => long.once("data", resolve));
    long.close(8);
    expect(await reset).toBe(8);
    expect((await answerOf(client.request({ ":path": "/short" }))).body).toBe("b");
    expect(await inbound.audit.next(({ path }) => path === "/long")).toMatchObject({
      close: "caller-reset",
      reason: "E_CALLER_GONE",
    });
  });

  it("by its caller ends at an HTTP/1.1 app with its connection", async () => {
    const closed = Promise.withResolvers<undefined>();
    const app = await startApp((request, response) => {
      response.write("a");
      request.socket.once("close", () => closed.resolve(undefined));
    });
    atEnd(() => app.close());
    const { port } = await mesh({ appPort: app.port, appProtocol: "http1" });
    const long = session(port).request({ ":path": "/" });
    await new Promise((resolve) => long.once("data", resolve));
    long.close(8);
    await closed.promise;
  });

  it("by its app reaches the caller as a reset, never as an end", async () => {
    const port = await http2App((stream) => {
      stream.respond({ ":status": 200 });
      stream.write("a", () => stream.destroy(new Error("the app broke")));
    });
    const { port: outPort } = await mesh({ appPort: port });
    await expect(answerOf(session(outPort).request({ ":path": "/" }))).rejects.toThrow(/2|INTERNAL_ERROR/);
  });

  it("by a provider's denial leaves nothing of its connection's room, though its body came meanwhile", async () => {
    let deny: () => void = () => undefined;
    const asked = { next: Promise.withResolvers<undefined>() };
    const provider = await startExtAuthzServer(() => {
      const { promise, resolve } = Promise.withResolvers<CheckReply>();
      deny = () => resolve({ status: { code: 7 } });
      asked.next.resolve(undefined);
      return promise;
    });
    atEnd(() => provider.close());
    const app = await startApp((_request, response) => void response.end());
    atEnd(() => app.close());
    const ask = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ask, namespace: shop }
spec: { action: CUSTOM, provider: { name: p }, rules: [{}] }
`;
    const { meshPort, ca } = await mesh({
      appPort: app.port,
      policies: ALLOW_WEB + ask,
      inboundSide: `limits: { streams: 2 }
extensionProviders: [{ name: p, envoyExtAuthzGrpc: { service: 127.0.0.1, port: ${provider.port} } }]`,
    });
    const client = await http2RawClient(meshPort, { identity: ca.issue({ spiffeId: WEB }) });
    atEnd(() => client.destroy());
    for (const id of [1, 3, 5, 7]) {
      asked.next = Promise.withResolvers<undefined>();
      client.send(headers(id, requestFields("/", [], "POST"), FLAG.END_HEADERS));
      client.send(frame(FRAME.DATA, 0, id, Buffer.alloc(10)));
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await asked.next.promise;
      client.send(frame(FRAME.DATA, FLAG.END_STREAM, id, Buffer.alloc(10)));
      // the answer to it says that the body has been read
      const opaque = Buffer.alloc(8, id);
      client.send(frame(FRAME.PING, 0, 0, opaque));
      // oxlint-disable-next-line no-await-in-loop -- as above
      await client.next(({ type, payload }) => type === FRAME.PING && payload.equals(opaque));
      deny();
      // oxlint-disable-next-line no-await-in-loop -- as above
      const last = await client.next(
        ({ type, stream, flags }) => stream === id && (type === FRAME.RST_STREAM || (flags & FLAG.END_STREAM) !== 0),
      );
      expect([id, last.type === FRAME.RST_STREAM]).toEqual([id, false]);
    }
  });

  it.each<[string, (client: Http2RawClient) => void]>([
    ["a breach of HTTP/2", ({ send }) => send(frame(FRAME.DATA, 0, 0))],
    ["the caller's end", ({ socket }) => socket.end()],
  ])("by its connection, through %s, has no end that looks like that of a whole response", async (_, end) => {
    const app = await startApp((_request, response) => void response.write("half"));
    atEnd(() => app.close());
    const { meshPort, inbound, ca } = await mesh({ appPort: app.port });
    const client = await http2RawClient(meshPort, { identity: ca.issue({ spiffeId: WEB }) });
    atEnd(() => client.destroy());
    client.send(headers(1, requestFields("/")));
    await client.next(({ type, stream }) => type === FRAME.DATA && stream === 1);
    end(client);
    await client.end();
    const said = client.frames.filter(({ stream }) => stream === 1);
    expect(said.map(({ type }) => type)).toEqual([FRAME.HEADERS, FRAME.DATA, FRAME.RST_STREAM]);
    expect(said.some(({ flags }) => (flags & FLAG.END_STREAM) !== 0)).toBe(false);
    expect(await inbound.audit.next(({ path }) => path === "/")).toMatchObject({ reason: "E_CALLER_GONE" });
  });

  it("by a new policy ends alone on its connection", async () => {
    const port = await http2App((stream, headers) => {
      stream.respond({ ":status": 200 });
      stream.write(String(headers[":path"]));
    });
    const only = (path: string): string => `${ALLOW_WEB}      to: [{ operation: { paths: ["${path}"] } }]\n`;
    const { port: outPort, inbound } = await mesh({ appPort: port, policies: only("/*") });
    const client = session(outPort);
    const kept = client.request({ ":path": "/kept" });
    const lost = client.request({ ":path": "/lost" });
    await Promise.all([kept, lost].map((stream) => new Promise((resolve) => stream.once("data", resolve))));
    const ended = answerOf(lost);
    inbound.setPolicies(only("/kept"));
    await expect(ended).rejects.toThrow();
    expect(await inbound.audit.next(() => true)).toMatchObject({ path: "/lost", reason: "E_POLICY_DENIED_BY_DEFAULT" });
    expect(kept.closed).toBe(false);
    kept.close();
  });
});

describe("flow control", () => {
  it("stops a sender whose reader rests, while other calls go on", async () => {
    const rest = Promise.withResolvers<ServerHttp2Stream>();
    const port = await http2App((stream, headers) => {
      if (headers[":path"] === "/rest") rest.resolve(stream);
      else {
        stream.respond({ ":status": 200 });
        stream.end("b");
      }
    });
    const { port: outPort } = await mesh({ appPort: port });
    const client = session(outPort);
    const upload = client.request({ ":method": "POST", ":path": "/rest" });
    const chunk = Buffer.alloc(1 << 20, 5);
    let accepted = 0;
    for (let i = 0; i < 8; i++) upload.write(chunk, () => (accepted += chunk.length));
    const stream = await rest.promise;
    for (let i = 0; i < 5; i++) expect((await answerOf(client.request({ ":path": "/go" }))).body).toBe("b");
    expect(accepted).toBeLessThan(8 * chunk.length);
    let got = 0;
    stream.on("data", (piece: Buffer) => (got += piece.length));
    upload.end();
    await new Promise((resolve) => stream.once("end", resolve));
    expect(got).toBe(8 * chunk.length);
    stream.respond({ ":status": 200 }, { endStream: true });
    await answerOf(upload);
  });
});

describe("WebSocket", () => {
  const accept = (key: string): string =>
    createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");

  it("over extended CONNECT reaches an app that knows the HTTP/1.1 upgrade", async () => {
    const app = await startApp(() => undefined);
    atEnd(() => app.close());
    app.server.on("upgrade", (request, socket) => {
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept(String(request.headers["sec-websocket-key"]))}\r\n\r\n`,
      );
      socket.on("data", (chunk: Buffer) => socket.write(`${request.method} ${chunk.toString()}`));
      socket.on("end", () => socket.end());
    });
    const { port, inbound } = await mesh({ appPort: app.port });
    const client = session(port);
    await new Promise((resolve) => client.once("remoteSettings", resolve));
    const stream = client.request({
      ":method": "CONNECT",
      ":protocol": "websocket",
      ":path": "/chat",
      ":scheme": "http",
      ":authority": "a",
      "sec-websocket-version": "13",
    });
    stream.write("early");
    const status = await new Promise((resolve) => stream.once("response", (headers) => resolve(headers[":status"])));
    expect(status).toBe(200);
    expect(String(await new Promise((resolve) => stream.once("data", resolve)))).toBe("GET early");
    stream.end();
    await new Promise((resolve) => stream.once("close", resolve));
    expect(await inbound.audit.next(() => true)).toMatchObject({ method: "GET", path: "/chat", status: 101 });
  });

  it("of an HTTP/1.1 app rides on the shared connection and ends in order", async () => {
    const app = await startApp(() => undefined);
    atEnd(() => app.close());
    app.server.on("upgrade", (request, socket) => {
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept(String(request.headers["sec-websocket-key"]))}\r\n\r\n`,
      );
      socket.on("data", (chunk: Buffer) => socket.write(`you said ${chunk.toString()}`));
      socket.on("end", () => socket.end("bye"));
    });
    const { port, inbound } = await mesh({ appPort: app.port });
    const clients = await Promise.all(Array.from({ length: 5 }, () => rawClient(port)));
    for (const client of clients) {
      client.send(
        "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
      );
    }
    for (const client of clients) {
      await client.until((text) => text.startsWith("HTTP/1.1 101 ") && text.includes("\r\n\r\n"));
      expect(client.received.toLowerCase()).toContain("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=");
      client.send("hi");
      await client.until((text) => text.endsWith("you said hi"));
      client.socket.end();
      expect((await client.closed()).endsWith("bye")).toBe(true);
    }
    expect(inbound.sidecar.listeners[0]?.connections).toBe(1);
  });
});

describe("an extended CONNECT", () => {
  it("for a protocol that is passed on to nobody is refused, on either side", async () => {
    const app = await startApp((_, response) => response.end("a tunnel?"));
    atEnd(() => app.close());
    const { port, meshPort, ca, inbound, outbound } = await mesh({ appPort: app.port });
    const identity = ca.issue({ spiffeId: "spiffe://example.org/ns/shop/sa/web" });
    for (const [client, { audit }] of [
      [await http2RawClient(port), outbound],
      [await http2RawClient(meshPort, { identity }), inbound],
    ] as const) {
      atEnd(async () => client.destroy());
      const fields = requestFields("/", [], "CONNECT").toSpliced(1, 0, [":protocol", "foo"]);
      client.send(headers(1, fields, FLAG.END_HEADERS));
      const head = await client.next(({ type }) => type === FRAME.HEADERS);
      expect(head.payload.includes("501")).toBe(true);
      expect(await audit.next(() => true)).toMatchObject({ reason: "E_HTTP_UPGRADE", status: 501, decision: "error" });
    }
  });
});

describe("the life of a shared connection", () => {
  it("survives a rotation for the calls it carries; the next call shows the new SVID on a new one", async () => {
    const port = await http2App((stream, headers) => {
      stream.respond({ ":status": 200 });
      if (headers[":path"] === "/long") stream.write("a");
      else stream.end("b");
      stream.on("data", (chunk: Buffer) => stream.end(chunk));
    });
    const { port: outPort, inbound, outbound, ca } = await mesh({ appPort: port });
    const client = session(outPort);
    const long = client.request({ ":method": "POST", ":path": "/long" });
    await new Promise((resolve) => long.once("data", resolve));
    const newer = ca.issue({ spiffeId: "spiffe://example.org/ns/shop/sa/web" });
    outbound.identity.serve(newer, [ca]);
    expect((await answerOf(client.request({ ":path": "/short" }))).body).toBe("b");
    const short = await inbound.audit.next(({ path }) => path === "/short");
    expect(short.connection.source?.serial).not.toBe(undefined);
    expect(inbound.sidecar.listeners[0]?.connections).toBe(2);
    long.end("c");
    await new Promise((resolve) => long.once("end", resolve));
    const first = await inbound.audit.next(({ path }) => path === "/long");
    expect(first.connection.source?.serial).not.toBe(short.connection.source?.serial);
  });

  it("ends in a drain when its calls have ended, and none of them fails", async () => {
    const port = await http2App((stream) => {
      stream.respond({ ":status": 200 });
      stream.write("a");
      stream.on("data", (chunk: Buffer) => stream.end(chunk));
    });
    const made = await startMesh({ appPort: port });
    const client = session(made.port);
    const calls = Array.from({ length: 5 }, () => client.request({ ":method": "POST", ":path": "/" }));
    await Promise.all(calls.map((stream) => new Promise((resolve) => stream.once("data", resolve))));
    const answers = calls.map(answerOf);
    const drained = Promise.all([made.inbound.sidecar.drain(10_000), made.outbound.sidecar.drain(10_000)]);
    await new Promise((resolve) => client.once("goaway", resolve));
    for (const stream of calls) stream.end("b");
    expect((await Promise.all(answers)).every(({ body }) => body === "b")).toBe(true);
    expect(await drained).toEqual([0, 0]);
  });
});

describe("a caller that is slow", () => {
  it.each([
    ["with a header block", headers(1, [[":method", "GET"]], 0)],
    ["with a frame", Buffer.from([0, 0, 200, 1, 4, 0, 0, 0, 1, 0x82])],
    ["with the preface", undefined],
  ])("%s is ended after the time for a head", async (_, begun) => {
    const { outbound, port } = await mesh({ appPort: 1, both: "timeouts: { head: 300ms }" });
    if (begun === undefined) {
      const client = await rawClient(port);
      client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
      await client.closed();
    } else {
      const client = await http2RawClient(port, { polite: false });
      client.send(begun);
      await client.end();
    }
    expect(await outbound.audit.next(() => true)).toMatchObject({ kind: "refusal", reason: "E_REQUEST_TIMEOUT" });
  });
});
