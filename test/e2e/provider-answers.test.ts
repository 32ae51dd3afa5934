import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { connect, type IncomingHttpHeaders } from "node:http2";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { startApp, type TestApp } from "../support/app.ts";
import { type CheckReply, header, startExtAuthzServer } from "../support/ext-authz-server.ts";
import { type Mesh, startMesh } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  // oxlint-disable-next-line no-await-in-loop -- in order
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const POLICIES = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: all, namespace: shop }
spec: { rules: [{}] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: custom, namespace: shop }
spec: { action: CUSTOM, provider: { name: p }, rules: [{}] }
`;

async function mesh(provider: string): Promise<Mesh & { readonly app: TestApp }> {
  const app = await startApp((_, response) => response.end("APP"));
  cleanups.push(() => app.close());
  const made = await startMesh({
    appPort: app.port,
    policies: POLICIES,
    inbound: "mtls: permissive",
    inboundSide: `extensionProviders: [{ name: p, ${provider} }]`,
  });
  cleanups.push(() => made.close());
  return { ...made, app };
}

async function grpcMesh(reply: () => CheckReply): Promise<Mesh & { readonly app: TestApp }> {
  const server = await startExtAuthzServer(reply);
  cleanups.push(() => server.close());
  return mesh(`envoyExtAuthzGrpc: { service: 127.0.0.1, port: ${server.port}, timeout: 5s }`);
}

const LISTS =
  'headersToUpstreamOnAllow: ["x-*", "if-*"], headersToDownstreamOnAllow: ["x-*"], headersToDownstreamOnDeny: ["x-*", "set-cookie", "content-*"]';

/** A provider over HTTP that answers with these very bytes, and then closes. */
async function httpMesh(answer: string): Promise<Mesh & { readonly app: TestApp }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("data", () => socket.end(answer, "latin1"));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return mesh(`envoyExtAuthzHttp: { service: 127.0.0.1, port: ${port}, timeout: 5s, ${LISTS} }`);
}

/** All that comes back on a connection for two requests, of which the second asks for the connection to end. */
async function twoAnswers(port: number, method: string): Promise<string> {
  const client = await rawClient(port);
  cleanups.push(() => client.socket.destroy());
  client.send(`${method} /a HTTP/1.1\r\nHost: a\r\n\r\n${method} /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
  return client.closed();
}

/** The answers of `text` as a caller reads them, which knows that no content follows these heads. */
function heads(text: string): string[] {
  expect(text.endsWith("\r\n\r\n")).toBe(true);
  return text.slice(0, -4).split("\r\n\r\n");
}

describe("a provider that denies with a status that has no content", () => {
  const SPLIT = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nPWNED";
  it.each([204, 205, 304])("%i: what it wants to say besides never becomes another answer", async (code) => {
    const m = await grpcMesh(() => ({
      status: { code: 7 },
      deniedResponse: { status: { code }, headers: [header("content-length", "7")], body: SPLIT },
    }));
    // plaintext to the inbound listener, and through both sidecars
    for (const port of [m.meshPort, m.port]) {
      for (const method of ["GET", "HEAD"]) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        const answers = heads(await twoAnswers(port, method));
        expect(answers.map((one) => one.slice(9, 12))).toEqual([String(code), String(code)]);
        for (const one of answers)
          expect(one).toMatch(/^(?![\s\S]*content-length: [^0])[\s\S]*x-countersign-code: E_EXT_AUTHZ_DENIED/i);
      }
    }
    expect(m.app.requests).toEqual([]);
  });

  it.each([204, 304])("over HTTP, %i", async (status) => {
    const provider = createHttpServer((_, response) => response.writeHead(status).end());
    await new Promise<void>((resolve) => provider.listen(0, "127.0.0.1", resolve));
    cleanups.push(() => provider.close());
    const { port } = provider.address() as AddressInfo;
    const m = await mesh(`envoyExtAuthzHttp: { service: 127.0.0.1, port: ${port}, timeout: 5s }`);
    const answers = heads(await twoAnswers(m.meshPort, "GET"));
    expect(answers.map((one) => one.slice(9, 12))).toEqual([String(status), String(status)]);
  });
});

it("a success by which a provider denies opens no tunnel", async () => {
  const m = await grpcMesh(() => ({ status: { code: 7 }, deniedResponse: { status: { code: 200 }, body: "no" } }));
  const session = connect(`http://127.0.0.1:${m.meshPort}`);
  cleanups.push(() => session.destroy());
  await once(session, "remoteSettings");
  const stream = session.request({
    ":method": "CONNECT",
    ":protocol": "websocket",
    ":path": "/chat",
    ":authority": "a",
    "sec-websocket-version": "13",
  });
  const [head] = (await once(stream, "response")) as [IncomingHttpHeaders];
  expect([head[":status"], head["x-countersign-code"]]).toEqual([403, "E_EXT_AUTHZ_DENIED"]);
  expect((await m.inbound.audit.next(() => true)).status).toBe(403);
});

describe("over HTTP/1.1", () => {
  const head = (...lines: string[]): string =>
    `${["HTTP/1.1 200 OK", "Content-Length: 0", ...lines].join("\r\n")}\r\n\r\n`;
  const FAILED = [403, "E_EXT_AUTHZ_FAILED"] as const;
  it.each<readonly [string, string, readonly [status: number, code: string]]>([
    ["cut in its body", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", FAILED],
    ["cut in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", FAILED],
    ["with two lengths", head("Content-Length: 5"), FAILED],
    [
      "with a length and chunks",
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      FAILED,
    ],
    ["with a body too large", `HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n${"x".repeat(1_000_000)}`, FAILED],
    ["with a head too large", head(`X-A: ${"x".repeat(100_000)}`), FAILED],
    ["that switches protocols", "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", FAILED],
    ["of no known status", "HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n", FAILED],
    ["of status 000", "HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n", FAILED],
    ["of 503", "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", FAILED],
    ["that is no HTTP", "garbage\r\n\r\n", FAILED],
    ["that never comes", "", FAILED],
    ["of 201", "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", [201, "E_EXT_AUTHZ_DENIED"]],
    ["of 206", "HTTP/1.1 206 P\r\nContent-Length: 0\r\n\r\n", [206, "E_EXT_AUTHZ_DENIED"]],
  ])("an answer %s never allows", async (_, answer, expected) => {
    const m = await httpMesh(answer);
    const text = (await twoAnswers(m.meshPort, "GET")).split("\r\n\r\n")[0] ?? "";
    expect([Number(text.slice(9, 12)), /x-countersign-code: (\S+)/.exec(text)?.[1]]).toEqual(expected);
    expect(m.app.requests).toEqual([]);
  });

  it("a pattern sets nothing of what is closed to providers", async () => {
    const closed = ["For", "Proto", "Host", "Port", "Prefix", "User", "Client-Cert"].flatMap((name) => [
      `X-Forwarded-${name}: evil`,
      `x_forwarded_${name.replace("-", "_")}: evil`,
    ]);
    const m = await httpMesh(
      head(...closed, "X-Request-Id: evil", "X-Countersign-Id: evil", "x_countersign_id: evil", "X-Tenant: t"),
    );
    await twoAnswers(m.meshPort, "GET");
    const [seen] = m.app.requests;
    expect(seen?.headers["x-tenant"]).toBe("t");
    expect(JSON.stringify(seen?.rawHeaders)).not.toContain("evil");
  });
});

describe("over gRPC", () => {
  const OK = { status: { code: 0 } };
  const names =
    "host :path :authority :method content-length transfer-encoding connection upgrade te x-forwarded-for x-forwarded-port x_forwarded_port X-Forwarded-Prefix x-request-id X-Countersign-Id traceparent";
  it.each(names.split(" ").flatMap((name) => [["set", name] as const, ["remove", name] as const]))(
    "an answer that would %s %s has failed",
    async (what, name) => {
      const change = what === "set" ? { headers: [header(name, "evil")] } : { headersToRemove: [name] };
      const m = await grpcMesh(() => ({ ...OK, okResponse: change }));
      expect(await twoAnswers(m.meshPort, "GET")).toContain("x-countersign-code: E_EXT_AUTHZ_FAILED");
      expect(m.app.requests).toEqual([]);
    },
  );

  it.each<readonly [string, CheckReply]>([
    ["a value with a line end", { ...OK, okResponse: { headers: [header("x-a", "a\r\nx-evil: 1")] } }],
    ["an interim status", { status: { code: 7 }, deniedResponse: { status: { code: 100 } } }],
    ["both an allowing and a denying part", { ...OK, deniedResponse: { status: { code: 403 } } }],
    ["no status", { okResponse: {} }],
  ])("an answer with %s has failed", async (_, reply) => {
    const m = await grpcMesh(() => reply);
    expect(await twoAnswers(m.meshPort, "GET")).toContain("x-countersign-code: E_EXT_AUTHZ_FAILED");
    expect(m.app.requests).toEqual([]);
  });
});
