import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from "node:net";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { parseSidecarConfig } from "../../config/load-sidecar-config.ts";
import type { ExtensionProviderConfig } from "../../config/sidecar-config.ts";
import { createHttpProvider } from "./http-provider.ts";
import type { AuthorizationProvider, CheckAnswer, CheckQuestion } from "./provider.ts";

// the first check loads it, which takes of its time
beforeAll(() => import("undici"));

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function listen(server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

function provider(port: number, more = ""): AuthorizationProvider {
  const { config } = parseSidecarConfig(
    `identity: { files: { svid: a, key: b, bundles: { example.org: c } } }
extensionProviders: [{ name: p, envoyExtAuthzHttp: { service: 127.0.0.1, port: ${port}, timeout: 300ms${more} } }]`,
    "/test/countersign.yaml",
    {},
  );
  const made = createHttpProvider(config.extensionProviders[0] as Extract<ExtensionProviderConfig, { kind: "http" }>);
  cleanups.push(() => made.close());
  return made;
}

const RAW = ["Host", "orders.shop", "Authorization", "Bearer t", "X-Tenant", "a", "X-Tenant", "b", "X-Secret", "s"];
const QUESTION: CheckQuestion = {
  source: { ip: "10.0.0.1", port: 1234, principal: "spiffe://example.org/ns/shop/sa/web" },
  destination: { ip: "10.0.0.2", port: 8080, principal: "spiffe://example.org/ns/shop/sa/orders" },
  sni: "orders.shop",
  startedUs: 1_700_000_000_123_456,
  openCall: undefined,
  clientCert: "By=spiffe://example.org/ns/shop/sa/orders;Hash=00;URI=spiffe://example.org/ns/shop/sa/web",
  request: {
    id: "d-1",
    method: "POST",
    scheme: "https",
    authority: "orders.shop",
    target: "/orders/7?x=1",
    fields: { raw: RAW, lower: RAW.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase()) },
    protocol: "HTTP/1.1",
    size: 12,
  },
};
const STAYS = new AbortController().signal;

async function answerTo(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  more = "",
): Promise<{ readonly answer: CheckAnswer; readonly seen: IncomingMessage[] }> {
  const seen: IncomingMessage[] = [];
  const port = await listen(
    createServer((request, response) => {
      seen.push(request);
      answer(request, response);
    }),
  );
  return { answer: await provider(port, more).check(QUESTION, STAYS), seen };
}

/** What a server that writes these bytes makes of the check. */
async function answerToBytes(bytes: string | undefined): Promise<CheckAnswer> {
  const server = createTcpServer((socket) => {
    socket.once("data", () => {
      if (bytes !== undefined) socket.end(bytes, "latin1");
    });
  });
  return provider(await listen(server)).check(QUESTION, STAYS);
}

describe("an HTTP provider", () => {
  it("gets method, path, Host, Authorization, the listed headers and who calls, but no body", async () => {
    const { answer, seen } = await answerTo(
      (_, response) => response.end(),
      ", pathPrefix: /check, includeRequestHeadersInCheck: [x-ten*], includeAdditionalHeadersInCheck: { x-mesh: countersign }",
    );
    expect(answer).toEqual({ kind: "allow", changes: undefined });
    const [{ method, url, headers } = {} as IncomingMessage] = seen;
    expect([method, url]).toEqual(["POST", "/check/orders/7?x=1"]);
    expect(headers).toMatchObject({
      host: "orders.shop",
      authorization: "Bearer t",
      "x-tenant": "a, b",
      "x-mesh": "countersign",
      "x-forwarded-client-cert": QUESTION.clientCert,
      "content-length": "0",
    });
    expect(headers["x-secret"]).toBeUndefined();
  });

  it("tells the app what it lists, and the caller what it lists", async () => {
    const { answer } = await answerTo((_, response) => {
      response.setHeader("X-User", "alice").setHeader("X-Other", "no").setHeader("X-Auth-Level", "2");
      response.setHeader("Set-Cookie", ["a=1", "b=2"]).end("ignored");
    }, ", headersToUpstreamOnAllow: [x-user, 'x-auth-*'], headersToDownstreamOnAllow: [set-cookie]");
    expect(answer).toEqual({
      kind: "allow",
      changes: {
        set: [
          ["x-user", "alice"],
          ["x-auth-level", "2"],
        ],
        append: [],
        remove: [],
        responseFields: ["set-cookie", "a=1", "set-cookie", "b=2"],
      },
    });
  });

  it("leaves closed names alone that a star covers", async () => {
    const { answer } = await answerTo(
      (_, response) => response.setHeader("X-Forwarded-Client-Cert", "URI=spiffe://evil/x").setHeader("X-A", "1").end(),
      ", headersToUpstreamOnAllow: ['*']",
    );
    expect(answer.kind === "allow" && answer.changes?.set.map(([name]) => name)).toEqual(
      expect.arrayContaining(["x-a"]),
    );
    expect(JSON.stringify(answer)).not.toMatch(/client-cert|content-length|connection/);
  });

  it.each([
    [401, { "www-authenticate": "Basic" }],
    [302, { location: "https://login.example/" }],
    [403, {}],
    [429, { "retry-after": "3" }],
  ])("denies with its own answer of %s", async (status, headers) => {
    const { answer } = await answerTo((_, response) => void response.writeHead(status, headers).end("go away"));
    if (answer.kind !== "deny") throw new Error(JSON.stringify(answer));
    expect([answer.status, Buffer.from(answer.body).toString()]).toEqual([status, "go away"]);
    for (const [name, value] of Object.entries(headers))
      expect(answer.fields).toEqual(expect.arrayContaining([name, value]));
    expect(answer.fields.filter((_, at) => at % 2 === 0)).not.toContain("content-length");
  });

  it("passes only the listed headers of a denial, and those that a denial needs", async () => {
    const { answer } = await answerTo(
      (_, response) =>
        void response.writeHead(401, { "WWW-Authenticate": "Basic", "X-Why": "a", "X-Inner": "b" }).end(),
      ", headersToDownstreamOnDeny: [x-why]",
    );
    expect(answer).toMatchObject({ kind: "deny", fields: ["www-authenticate", "Basic", "x-why", "a"] });
  });
});

it("is asked once more when it closes a kept connection just as that is used", async () => {
  let connections = 0;
  const server = createTcpServer((socket) => {
    const first = ++connections === 1;
    let requests = 0;
    socket.on("data", () => {
      // the first connection answers once, and breaks on its second request
      if (first && ++requests > 1) socket.destroy();
      else socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
  });
  const made = provider(await listen(server));
  expect((await made.check(QUESTION, STAYS)).kind).toBe("allow");
  expect((await made.check(QUESTION, STAYS)).kind).toBe("allow");
  expect(connections).toBe(2);
});

describe("without a valid answer", () => {
  it.each([
    ["500", "E_EXT_AUTHZ_FAILED", "HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n"],
    ["503", "E_EXT_AUTHZ_FAILED", "HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n"],
    ["garbage", "E_EXT_AUTHZ_FAILED", "\x00\x01\x02 allow everything\r\n\r\n"],
    ["a closed connection", "E_EXT_AUTHZ_FAILED", ""],
    ["200 that breaks off in its body", "E_EXT_AUTHZ_FAILED", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"],
    ["200 that breaks off in its head", "E_EXT_AUTHZ_FAILED", "HTTP/1.1 200 OK\r\ncontent-le"],
    [
      "200 with two lengths",
      "E_EXT_AUTHZ_FAILED",
      "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na",
    ],
    ["101", "E_EXT_AUTHZ_FAILED", "HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"],
    [
      "a body above 64 KiB",
      "E_EXT_AUTHZ_FAILED",
      `HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n${"x".repeat(70_000)}`,
    ],
    ["silence", "E_EXT_AUTHZ_TIMEOUT", undefined],
  ])("%s: the check has failed", async (_, code, bytes) => {
    expect(await answerToBytes(bytes)).toMatchObject({ kind: "failed", error: { code } });
  });

  it("nothing that listens: the check has failed", async () => {
    const server = createTcpServer();
    const port = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    expect(await provider(port).check(QUESTION, STAYS)).toMatchObject({
      kind: "failed",
      error: { code: "E_EXT_AUTHZ_FAILED" },
    });
  });

  it("a trickle without end: the check has failed in time", async () => {
    const server = createTcpServer((socket) => {
      socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
      const timer = setInterval(() => socket.write("1\r\nx\r\n"), 20);
      socket.on("close", () => clearInterval(timer));
    });
    const answer = await provider(await listen(server)).check(QUESTION, STAYS);
    expect(answer).toMatchObject({ kind: "failed", error: { code: "E_EXT_AUTHZ_TIMEOUT" } });
  });

  it("a caller that leaves ends the check at once", async () => {
    const gone = new AbortController();
    const server = createTcpServer((socket) => void socket.once("data", () => gone.abort()));
    expect(await provider(await listen(server)).check(QUESTION, gone.signal)).toMatchObject({ kind: "failed" });
  });

  it("cannot be asked about a connection that is no HTTP", async () => {
    const port = await listen(createServer((_, response) => response.end()));
    const answer = await provider(port).check({ ...QUESTION, request: undefined }, STAYS);
    expect(answer).toMatchObject({ kind: "failed" });
  });
});
