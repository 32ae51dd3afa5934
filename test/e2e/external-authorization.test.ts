import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { bodyOf, startApp, startTcpApp, type TestApp } from "../support/app.ts";
import { type Answer, ask } from "../support/ask.ts";
import { eventually } from "../support/eventually.ts";
import { type CheckReply, type ExtAuthzServer, header, startExtAuthzServer } from "../support/ext-authz-server.ts";
import { ALLOW_WEB, type Mesh, ORDERS, startMesh, WEB } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  // oxlint-disable-next-line no-await-in-loop -- in order
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const custom = (rules: string, provider = "p", name = "custom"): string => `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec: { action: CUSTOM, provider: { name: ${provider} }, rules: ${rules} }
`;
const ADMIN = custom('[{ to: [{ operation: { paths: ["/admin*"] } }] }]');
const WHERE = "timeout: 500ms";

async function mesh(
  provider: string,
  policies: string,
  handler: Parameters<typeof startApp>[0] = (_, response) => response.end("served"),
): Promise<Mesh & { readonly app: TestApp; readonly seen: IncomingMessage[] }> {
  const app = await startApp(handler);
  cleanups.push(() => app.close());
  const made = await startMesh({ appPort: app.port, policies, both: `extensionProviders: [${provider}]` });
  cleanups.push(() => made.close());
  return { ...made, app, seen: app.requests };
}

async function grpc(
  answer: Parameters<typeof startExtAuthzServer>[0],
): Promise<ExtAuthzServer & { readonly yaml: string }> {
  const server = await startExtAuthzServer(answer);
  cleanups.push(() => server.close());
  return { ...server, yaml: `{ name: p, envoyExtAuthzGrpc: { service: 127.0.0.1, port: ${server.port}, ${WHERE} } }` };
}

async function http(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  more = "",
): Promise<{ readonly yaml: string; readonly seen: IncomingMessage[] }> {
  const seen: IncomingMessage[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    seen.push(request);
    answer(request, response);
  });
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  return { yaml: `{ name: p, envoyExtAuthzHttp: { service: 127.0.0.1, port: ${port}, ${WHERE}${more} } }`, seen };
}

const get = (to: Mesh, path: string, headers: Record<string, string> = {}): Promise<Answer> =>
  ask(to.port, path, { headers });
const OK = { status: { code: 0 } };

describe("a call that a CUSTOM rule matches", () => {
  it("goes on when its gRPC provider allows, which knows who calls; others are not asked about", async () => {
    const provider = await grpc(() => OK);
    const m = await mesh(provider.yaml, ALLOW_WEB + ADMIN);
    expect((await get(m, "/orders")).status).toBe(200);
    expect(provider.seen).toEqual([]);
    expect((await get(m, "/admin?x=1")).status).toBe(200);
    const attributes = provider.seen[0]?.attributes;
    expect([attributes?.source.principal, attributes?.destination.principal]).toEqual([WEB, ORDERS]);
    expect(attributes?.request.http).toMatchObject({ method: "GET", path: "/admin?x=1", host: `127.0.0.1:${m.port}` });
    expect(attributes?.request.http?.headers["x-forwarded-client-cert"]).toContain(`URI=${WEB}`);
    const record = await m.inbound.audit.next(({ path }) => path === "/admin");
    expect(record).toMatchObject({ decision: "allow", rule: "ns[shop]-policy[web]-rule[0]" });
    expect(attributes?.request.http?.id).toBe(record.id);
  });

  it("is denied by its provider's own answer, and the record names rule and provider", async () => {
    const deniedResponse = {
      status: { code: 302 },
      headers: [header("Location", "https://login.example/")],
      body: "go there",
    };
    const provider = await grpc(() => ({ status: { code: 16 }, deniedResponse }));
    const m = await mesh(provider.yaml, ALLOW_WEB + ADMIN);
    const answer = await get(m, "/admin");
    expect([answer.status, answer.headers.location, answer.body]).toEqual([302, "https://login.example/", "go there"]);
    expect(answer.headers["x-countersign-code"]).toBe("E_EXT_AUTHZ_DENIED");
    expect(await m.inbound.audit.next(() => true)).toMatchObject({
      decision: "deny",
      reason: "E_EXT_AUTHZ_DENIED",
      rule: "ns[shop]-policy[custom]-rule[0]",
      status: 302,
    });
    expect(m.seen).toEqual([]);
  });

  it("is not allowed by its provider alone: the other policies still decide", async () => {
    const provider = await grpc(() => OK);
    const m = await mesh(provider.yaml, ADMIN);
    expect((await get(m, "/admin")).status).toBe(403);
    const deny = ALLOW_WEB.replace("ALLOW", "DENY").replace("name: web", "name: no");
    m.inbound.setPolicies(`${ALLOW_WEB}---\n${deny}${ADMIN}`);
    expect((await get(m, "/admin")).headers["x-countersign-code"]).toBe("E_POLICY_DENIED_BY_RULE");
  });

  it("is what its provider made of it, for policy and for the app", async () => {
    const okResponse = {
      headers: [header("X-Role", "admin"), header("x-tag", "b", { append: { value: true } })],
      headersToRemove: ["x-secret"],
      responseHeadersToAdd: [header("X-Checked", "yes")],
    };
    const provider = await grpc(() => ({ ...OK, okResponse }));
    const role = ALLOW_WEB.replace(
      /rules:[\s\S]*/,
      'rules: [{ when: [{ key: "request.headers[x-role]", values: [admin] }] }]\n',
    );
    const m = await mesh(provider.yaml, role + ADMIN);
    expect((await get(m, "/orders", { "x-role": "user" })).status).toBe(403);
    const answer = await get(m, "/admin", { "X-Role": "user", "X-Tag": "a", "X-Secret": "s" });
    expect([answer.status, answer.headers["x-checked"]]).toEqual([200, "yes"]);
    expect(m.seen[0]?.headers).toMatchObject({ "x-role": "admin", "x-tag": "a, b" });
    expect(m.seen[0]?.headers).not.toHaveProperty("x-secret");
  });

  it("is asked about over HTTP as well", async () => {
    const provider = await http(
      (request, response) =>
        request.headers.authorization === "Basic ok"
          ? void response.setHeader("X-User", "alice").end()
          : void response.writeHead(401, { "WWW-Authenticate": "Basic" }).end("who?"),
      ", headersToUpstreamOnAllow: [x-user], pathPrefix: /check",
    );
    const m = await mesh(provider.yaml, ALLOW_WEB + ADMIN);
    const denied = await get(m, "/admin/x");
    expect([denied.status, denied.headers["www-authenticate"], denied.body]).toEqual([401, "Basic", "who?"]);
    expect((await get(m, "/admin/x", { authorization: "Basic ok", "x-user": "root" })).status).toBe(200);
    expect(m.seen.map(({ headers }) => headers["x-user"])).toEqual(["alice"]);
    expect(provider.seen[0]?.url).toBe("/check/admin/x");
    expect(provider.seen[0]?.headers["x-forwarded-client-cert"]).toContain(`URI=${WEB}`);
  });

  it("asks every provider whose rule matches, each once, and any may deny", async () => {
    const first = await grpc(() => OK);
    const second = await http((_, response) => void response.writeHead(403).end());
    const providers = `${first.yaml.replace("name: p", "name: one")}, ${second.yaml.replace("name: p", "name: two")}`;
    const m = await mesh(providers, ALLOW_WEB + custom("[{}]", "one", "a") + custom("[{}]", "two", "b"));
    expect((await get(m, "/x")).status).toBe(403);
    expect([first.seen.length, second.seen.length]).toEqual([1, 1]);
    expect((await m.inbound.audit.next(() => true)).rule).toBe("ns[shop]-policy[b]-rule[0]");
  });

  it("keeps its whole body while the provider thinks", async () => {
    let decide = (): void => undefined;
    const asked = new Promise<void>((resolve) => {
      decide = resolve;
    });
    const provider = await http((_, response) => {
      decide();
      setImmediate(() => response.end());
    });
    const m = await mesh(provider.yaml, ALLOW_WEB + ADMIN, (request, response) => {
      void bodyOf(request).then((body) => response.end(`got ${body.length}`));
    });
    const client = await rawClient(m.port);
    cleanups.push(() => client.socket.destroy());
    client.send("POST /admin HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\nxx");
    await asked;
    client.send("x".repeat(399_998));
    expect(await client.until((text) => text.includes("got "))).toMatch(/got 400000$/);
  });
});

describe("without a valid answer a call is denied", () => {
  it.each<readonly [string, string, () => CheckReply | Error | undefined]>([
    ["silence", "E_EXT_AUTHZ_TIMEOUT", () => undefined],
    ["an error", "E_EXT_AUTHZ_FAILED", () => new Error("boom")],
    ["an empty answer", "E_EXT_AUTHZ_FAILED", () => ({})],
    [
      "an answer that would change Host",
      "E_EXT_AUTHZ_FAILED",
      () => ({ ...OK, okResponse: { headers: [header("host", "evil")] } }),
    ],
  ])("%s", async (_, code, reply) => {
    const provider = await grpc(reply);
    const m = await mesh(provider.yaml.replace(WHERE, `${WHERE}, statusOnError: "503"`), ALLOW_WEB + ADMIN);
    const under = get(m, "/admin");
    // calls that need no provider do not wait for those that do
    expect((await get(m, "/orders")).status).toBe(200);
    const answer = await under;
    expect([answer.status, answer.headers["x-countersign-code"]]).toEqual([503, code]);
    expect(m.seen).toHaveLength(1);
  });

  it("nobody who listens", async () => {
    const m = await mesh(
      "{ name: p, envoyExtAuthzGrpc: { service: 127.0.0.1, port: 1, timeout: 500ms } }",
      ALLOW_WEB + ADMIN,
    );
    expect((await get(m, "/admin")).status).toBe(403);
    expect(await m.inbound.audit.next(() => true)).toMatchObject({ decision: "deny", reason: "E_EXT_AUTHZ_FAILED" });
    expect(m.seen).toEqual([]);
  });
});

describe("while a provider thinks", () => {
  it("its caller may leave, and a policy that changes decides anew", async () => {
    const waiting: ServerResponse[] = [];
    const both: (() => void)[] = [];
    const asked = new Promise<void>((resolve) => both.push(resolve));
    const provider = await http((_, response) => {
      waiting.push(response);
      if (waiting.length === 2) for (const tell of both) tell();
    });
    const slow = provider.yaml.replace(WHERE, "timeout: 30s");
    const m = await mesh(slow, ALLOW_WEB + ADMIN);
    const leaver = await rawClient(m.port);
    leaver.send("GET /admin/left HTTP/1.1\r\nHost: a\r\n\r\n");
    const stays = get(m, "/admin/stays");
    await asked;
    leaver.socket.resetAndDestroy();
    expect(await m.inbound.audit.next(({ path }) => path === "/admin/left")).toMatchObject({ reason: "E_CALLER_GONE" });
    m.inbound.setPolicies(ADMIN.replace("/admin*", "/other"));
    for (const response of waiting) response.end();
    expect((await stays).status).toBe(403);
    expect(m.seen).toEqual([]);
  });

  it("a new CUSTOM policy is asked about open calls too", async () => {
    const provider = await grpc(() => ({ status: { code: 7 } }));
    const m = await mesh(provider.yaml, ALLOW_WEB, (_, response) => response.writeHead(200).write("begun"));
    const client = await rawClient(m.port);
    cleanups.push(() => client.socket.destroy());
    client.send("GET /admin HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.until((text) => text.includes("begun"));
    m.inbound.setPolicies(ALLOW_WEB + ADMIN);
    const record = await m.inbound.audit.next(() => true);
    expect(record).toMatchObject({ decision: "deny", reason: "E_EXT_AUTHZ_DENIED", close: "policy-changed" });
  });

  it("about an open call is not asked again, however often it is decided under the same policy", async () => {
    const provider = await grpc(() => undefined);
    const m = await mesh(provider.yaml, ALLOW_WEB, (_, response) => response.writeHead(200).write("begun"));
    const client = await rawClient(m.port);
    cleanups.push(() => client.socket.destroy());
    client.send("GET /admin HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.until((text) => text.includes("begun"));
    m.inbound.setPolicies(ALLOW_WEB + ADMIN);
    await eventually(() => expect(provider.seen).toHaveLength(1));
    m.inbound.setPolicies(ALLOW_WEB + ADMIN);
    expect(await m.inbound.audit.next(() => true)).toMatchObject({ decision: "deny", reason: "E_EXT_AUTHZ_TIMEOUT" });
    expect(provider.seen).toHaveLength(1);
  });
});

describe("a TCP connection that a CUSTOM rule matches", () => {
  const PORT = custom('[{ from: [{ source: { ipBlocks: ["127.0.0.0/8"] } }] }]');
  async function tcp(answer: () => CheckReply | undefined) {
    const provider = await grpc(answer);
    const app = await startTcpApp((socket) => socket.write("hello"));
    cleanups.push(() => app.close());
    const policies = ALLOW_WEB + PORT;
    const made = await startMesh({
      appPort: app.port,
      protocol: "tcp",
      policies,
      both: `extensionProviders: [${provider.yaml}]`,
    });
    cleanups.push(() => made.close());
    const client = await rawClient(made.port);
    cleanups.push(() => client.socket.destroy());
    client.send("early");
    return { ...made, app, client, provider };
  }

  it("is opened once the provider allows, which knows who calls", async () => {
    const { client, provider } = await tcp(() => OK);
    expect(await client.until((text) => text === "hello")).toBe("hello");
    expect(provider.seen[0]?.attributes).toMatchObject({ source: { principal: WEB }, request: { http: null } });
  });

  it("is asked about once while it is open, however often it is decided under the same policy", async () => {
    const replies: (CheckReply | undefined)[] = [OK, undefined];
    const { client, inbound, provider } = await tcp(() => replies.shift());
    await client.until((text) => text === "hello");
    const changed = ALLOW_WEB + custom("[{}]");
    inbound.setPolicies(changed);
    await eventually(() => expect(provider.seen).toHaveLength(2));
    inbound.setPolicies(changed);
    expect(await inbound.audit.next(() => true)).toMatchObject({ decision: "deny", reason: "E_EXT_AUTHZ_TIMEOUT" });
    expect(provider.seen).toHaveLength(2);
  });

  it.each([
    ["E_EXT_AUTHZ_DENIED", () => ({ status: { code: 7 } })],
    ["E_EXT_AUTHZ_TIMEOUT", () => undefined],
  ])("ends with %s before a byte reaches the app", async (code, answer) => {
    const { app, client, inbound } = await tcp(answer);
    await client.closed();
    expect(await inbound.audit.next(() => true)).toMatchObject({ decision: "deny", reason: code });
    expect(app.sockets).toEqual([]);
  });
});
