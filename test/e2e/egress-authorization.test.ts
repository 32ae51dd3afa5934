import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { freePorts } from "../../bench/ports.ts";
import { startApp, startTcpApp, type TestApp } from "../support/app.ts";
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
import { type CheckReply, type ExtAuthzServer, header, startExtAuthzServer } from "../support/ext-authz-server.ts";
import { ALLOW_WEB, ORDERS, startTestSidecar, TRUST_DOMAIN, WEB } from "../support/mesh.ts";
import { type RawClient, rawClient } from "../support/raw-client.ts";
import { connectTo, echoed, socksName, socksTo, tlsInside, u16 } from "../support/tunnels.ts";

let ca: TestCa;
let cleanups: (() => unknown)[];
beforeEach(() => {
  ca = createTestCa(TRUST_DOMAIN);
  cleanups = [];
});
afterEach(async () => {
  // oxlint-disable-next-line no-await-in-loop -- in order
  for (const cleanup of cleanups.reverse()) await cleanup();
});

type Answer = (request: ExtAuthzServer["seen"][number]) => CheckReply | Error | undefined;
const SILENCE: Answer = () => undefined;
const OK = { status: { code: 0 } };
const NO = { status: { code: 7 } };
const RULE = "ns[shop]-policy[ask]-rule[0]";
const CODE = "x-countersign-code";

/** An OUTBOUND CUSTOM policy that has `p` asked. */
const asking = (rules = "[{}]"): string => `---
apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: ask, namespace: shop }
spec: { direction: OUTBOUND, action: CUSTOM, provider: { name: p }, rules: ${rules} }
`;
const EVERYTHING = allowOutbound('hosts: ["*.test", "127.0.0.1"]');

async function grpc(answer: Answer): Promise<ExtAuthzServer> {
  const server = await startExtAuthzServer(answer);
  cleanups.push(() => server.close());
  return server;
}

/** One that never answers; `asked` resolves once it was. */
async function silentProvider(): Promise<{ provider: ExtAuthzServer; asked: Promise<void> }> {
  const asked = Promise.withResolvers<void>();
  const provider = await grpc(() => {
    asked.resolve();
    return undefined;
  });
  return { provider, asked: asked.promise };
}

/** `answer`: what it says; who says nothing is not waited for long. */
const grpcAt = (port: number, answer?: Answer): string =>
  `extensionProviders: [{ name: p, envoyExtAuthzGrpc: { service: 127.0.0.1, port: ${port}, timeout: ${answer === SILENCE ? "300ms" : "30s"} } }]`;

async function startWith(policies: string, provider: string, options: Partial<EgressOptions>): Promise<Egress> {
  const egress = await startEgress({
    ca,
    forward: "addresses: [127.0.0.0/8]",
    policies,
    names: { "api.test": ["127.0.0.1"], "two.test": ["127.0.0.1", "127.0.0.2"] },
    more: provider,
    ...options,
  });
  cleanups.push(() => egress.close());
  return egress;
}

async function startServer(handler?: Parameters<typeof startApp>[0]): Promise<TestApp> {
  const app = await startApp(handler ?? ((_, response) => response.end("served")));
  cleanups.push(() => app.close());
  return app;
}

async function freePort(): Promise<number> {
  const [port = 0] = await freePorts(1);
  return port;
}

const addressOf = (seen: ExtAuthzServer["seen"]): readonly (readonly [string, number])[] =>
  seen.map(({ attributes: { destination } }) => {
    const { address, portValue } = destination.address.socketAddress;
    return [address, portValue];
  });

describe("a request that a CUSTOM rule matches", () => {
  async function world(
    answer: Answer,
    rules?: string,
    more = "",
  ): Promise<{ app: TestApp; provider: ExtAuthzServer; egress: Egress; url: (path: string, host?: string) => string }> {
    const app = await startServer();
    const provider = await grpc(answer);
    const egress = await startWith(EVERYTHING + asking(rules) + more, grpcAt(provider.port, answer), {});
    return { app, provider, egress, url: (path, host = "api.test") => `http://${host}:${app.port}${path}` };
  }

  it("goes on when its provider allows, which knows who calls what, with what the provider made of it", async () => {
    const okResponse = {
      headers: [header("x-purpose", "audit")],
      headersToRemove: ["x-secret"],
      responseHeadersToAdd: [header("x-checked", "yes")],
    };
    const { app, provider, egress, url } = await world(() => ({ ...OK, okResponse }));
    const headers = { "x-secret": "1", "proxy-authorization": "Basic c2VjcmV0" };
    const answer = await ask(egress.port, url("/charge?x=%2F"), { method: "POST", headers });
    expect([answer.status, answer.body, answer.headers["x-checked"]]).toEqual([200, "served", "yes"]);
    const [attributes] = provider.seen.map((one) => one.attributes);
    expect([attributes?.source.principal, attributes?.destination.principal]).toEqual([WEB, ""]);
    expect(addressOf(provider.seen)).toEqual([["", app.port]]);
    const http = attributes?.request.http;
    expect(http).toMatchObject({ method: "POST", path: "/charge?x=%2F", host: `api.test:${app.port}` });
    expect([http?.headers["x-secret"], http?.headers["proxy-authorization"]]).toEqual(["1", undefined]);
    expect(app.requests[0]?.url).toBe("/charge?x=%2F");
    expect(app.requests[0]?.headers).toMatchObject({ "x-purpose": "audit", host: `api.test:${app.port}` });
    expect(app.requests[0]?.headers["x-secret"]).toBeUndefined();
    expect(await egress.sidecar.audit.next(() => true)).toMatchObject({ decision: "allow", status: 200 });
  });

  it("is asked about by the host as policies see it, and goes on with that of the app", async () => {
    const { app, provider, egress, url } = await world(() => OK);
    expect((await ask(egress.port, url("/", "API.test."))).status).toBe(200);
    expect(provider.seen[0]?.attributes.request.http).toMatchObject({
      host: `api.test:${app.port}`,
      headers: { ":authority": `api.test:${app.port}` },
    });
    expect(app.requests[0]?.headers.host).toBe(`API.test.:${app.port}`);
  });

  it.each<readonly [string, string, Answer]>([
    ["says no", "E_EXT_AUTHZ_DENIED", () => NO],
    ["says nothing in time", "E_EXT_AUTHZ_TIMEOUT", SILENCE],
    ["fails", "E_EXT_AUTHZ_FAILED", () => new Error("boom")],
    ["says neither yes nor no", "E_EXT_AUTHZ_FAILED", () => ({})],
    [
      "would change the host",
      "E_EXT_AUTHZ_FAILED",
      () => ({ ...OK, okResponse: { headers: [header("host", "evil")] } }),
    ],
  ])("is denied when its provider %s: its host is not even looked up", async (_, code, answer) => {
    const { egress, url } = await world(answer);
    const denied = await ask(egress.port, url("/x", "nowhere.test"));
    expect([denied.status, denied.headers[CODE]]).toEqual([403, code]);
    const record = await egress.sidecar.audit.next(() => true);
    expect(record).toMatchObject({ decision: "deny", reason: code, rule: RULE, destinationAddress: undefined });
    expect(record.detail).toMatch(/\bp\b/);
    expect(egress.sidecar.audit.open).toBe(0);
  });

  it("is denied where nobody listens as the provider, and the connection goes on with another request", async () => {
    const app = await startServer();
    const rules = "[{ to: [{ operation: { paths: [/asked] } }] }]";
    const egress = await startWith(EVERYTHING + asking(rules), grpcAt(await freePort()), {});
    const client = await rawClient(egress.port);
    cleanups.push(() => client.socket.destroy());
    client.send(`GET http://api.test:${app.port}/asked HTTP/1.1\r\nHost: a\r\n\r\n`);
    expect(await client.until((text) => text.includes("(decision"))).toContain("E_EXT_AUTHZ_FAILED");
    client.send(`GET http://api.test:${app.port}/other HTTP/1.1\r\nHost: a\r\n\r\n`);
    await client.until((text) => text.endsWith("served"));
    expect(app.requests.map(({ url }) => url)).toEqual(["/other"]);
  });

  it("gets its provider's own answer", async () => {
    const deniedResponse = { status: { code: 451 }, headers: [header("x-law", "7")], body: "not here" };
    const { egress, url } = await world(() => ({ ...NO, deniedResponse }));
    const { status, headers, body } = await ask(egress.port, url("/x"));
    expect([status, headers["x-law"], body]).toEqual([451, "7", "not here"]);
  });

  it("still needs an OUTBOUND policy that allows it, also as the provider leaves it", async () => {
    const app = await startServer();
    const provider = await grpc(({ attributes }) => {
      const headers = attributes.request.http?.path === "/marked" ? [header("x-mark", "1")] : [];
      return { ...OK, okResponse: { headers } };
    });
    const policies = `${allowOutbound("hosts: [api.test], methods: [GET]")}---
apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: no, namespace: shop }
spec: { direction: OUTBOUND, action: DENY, rules: [{ when: [{ key: "request.headers[x-mark]", values: ["1"] }] }] }
`;
    const egress = await startWith(policies + asking(), grpcAt(provider.port), {});
    const at = (path: string): string => `http://api.test:${app.port}${path}`;
    expect((await ask(egress.port, at("/x"))).status).toBe(200);
    const put = await ask(egress.port, at("/x"), { method: "PUT" });
    expect(put.headers[CODE]).toBe("E_POLICY_DENIED_BY_DEFAULT");
    expect((await ask(egress.port, at("/marked"))).headers[CODE]).toBe("E_POLICY_DENIED_BY_RULE");
    expect(app.requests).toHaveLength(1);
  });

  it("is asked about over HTTP as well", async () => {
    const app = await startServer();
    const seen: string[] = [];
    const server = createServer((request: IncomingMessage, response: ServerResponse) => {
      seen.push(`${request.method} ${request.url} ${request.headers.host}`);
      response.writeHead(request.url === "/no" ? 401 : 200).end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanups.push(() => {
      server.close();
      server.closeAllConnections();
    });
    const { port } = server.address() as AddressInfo;
    const rules = "[{ to: [{ operation: { notMethods: [CONNECT] } }] }]";
    const provider = `extensionProviders: [{ name: p, envoyExtAuthzHttp: { service: 127.0.0.1, port: ${port} } }]`;
    const egress = await startWith(EVERYTHING + asking(rules), provider, {});
    const host = `api.test:${app.port}`;
    expect((await ask(egress.port, `http://${host}/yes?a=b`)).status).toBe(200);
    expect((await ask(egress.port, `http://${host}/no`)).status).toBe(401);
    expect(seen).toEqual([`GET /yes?a=b ${host}`, `GET /no ${host}`]);
  });

  it("is denied at once where its provider is the proxy itself: the check would wait for itself", async () => {
    const port = await freePort();
    const app = await startServer();
    const sidecar = await startTestSidecar({
      ca,
      svid: ca.issue({ spiffeId: WEB }),
      policies: EVERYTHING + asking(),
      config: `outbound: [{ name: egress, listen: "127.0.0.1:${port}", forward: { addresses: [127.0.0.0/8] } }]
${grpcAt(port)}`,
    });
    cleanups.push(() => sidecar.sidecar.drain(0));
    const denied = await ask(port, `http://127.0.0.1:${app.port}/x`);
    expect([denied.status, denied.headers[CODE]]).toEqual([403, "E_EXT_AUTHZ_FAILED"]);
    expect(sidecar.audit.ended).toHaveLength(1);
    expect(app.requests).toEqual([]);
  });

  it("may go to the provider's own address: it is asked about once", async () => {
    const { provider, egress } = await world(() => OK);
    await ask(egress.port, `http://127.0.0.1:${provider.port}/x`);
    expect(provider.seen).toHaveLength(1);
  });

  it("need not wait any more once its caller has left, and a policy that changes meanwhile decides anew", async () => {
    const app = await startServer();
    const both = Promise.withResolvers<void>();
    const provider = await grpc(() => {
      if (provider.seen.length === 2) both.resolve();
      return undefined;
    });
    const egress = await startWith(EVERYTHING + asking(), grpcAt(provider.port), {});
    const leaver = await rawClient(egress.port);
    leaver.send(`GET http://api.test:${app.port}/left HTTP/1.1\r\nHost: a\r\n\r\n`);
    const stays = ask(egress.port, `http://api.test:${app.port}/stays`);
    await both.promise;
    leaver.socket.resetAndDestroy();
    const left = await egress.sidecar.audit.next(({ path }) => path === "/left");
    expect(left).toMatchObject({ reason: "E_CALLER_GONE" });
    expect(egress.sidecar.audit.open).toBe(0);
    provider.close();
    egress.sidecar.setPolicies(allowOutbound("hosts: [api.test], methods: [PUT]"));
    expect((await stays).headers[CODE]).toBe("E_POLICY_DENIED_BY_DEFAULT");
    expect(app.requests).toEqual([]);
  });

  it("is asked about while it is open too, with the address that it has, when a new policy says so", async () => {
    const app = await startServer((_, response) => response.writeHead(200).write("begun"));
    const provider = await grpc(() => NO);
    const egress = await startWith(EVERYTHING, grpcAt(provider.port), {});
    const client = await rawClient(egress.port);
    cleanups.push(() => client.socket.destroy());
    client.send(`GET http://api.test:${app.port}/ HTTP/1.1\r\nHost: a\r\n\r\n`);
    await client.until((text) => text.includes("begun"));
    egress.sidecar.setPolicies(EVERYTHING + asking());
    const record = await egress.sidecar.audit.next(() => true);
    expect(record).toMatchObject({
      decision: "deny",
      reason: "E_EXT_AUTHZ_DENIED",
      close: "policy-changed",
      rule: RULE,
    });
    expect(addressOf(provider.seen)).toEqual([["127.0.0.1", app.port]]);
  });
});

/** Has open calls decided again as time passes, and denies nothing. */
const BY_TIME = `---
apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: late, namespace: shop }
spec: { direction: OUTBOUND, action: DENY, rules: [{ conditions: "time < timestamp('2020-01-01T00:00:00Z')" }] }
`;

describe("a CUSTOM rule about addresses", () => {
  const AT = '[{ when: [{ key: destination.ip, values: ["127.0.0.0/8"] }] }]';
  const SECOND = '[{ when: [{ key: destination.ip, values: ["127.0.0.1"] }] }]';

  it("has the provider asked once a name's address is known, which knows it", async () => {
    const app = await startServer();
    const provider = await grpc(() => ({ ...OK, okResponse: { headers: [header("x-seen", "1")] } }));
    const egress = await startWith(EVERYTHING + asking(AT), grpcAt(provider.port), {});
    const answer = await ask(egress.port, `http://api.test:${app.port}/x`);
    expect([answer.status, app.requests[0]?.headers["x-seen"]]).toEqual([200, "1"]);
    expect(addressOf(provider.seen)).toEqual([["127.0.0.1", app.port]]);
  });

  it("gets a request denied by the provider's own answer, and nothing is dialled", async () => {
    const app = await startServer();
    const provider = await grpc(() => ({
      ...NO,
      deniedResponse: { status: { code: 401 }, headers: [], body: "who?" },
    }));
    const egress = await startWith(EVERYTHING + asking(AT), grpcAt(provider.port), {});
    const answer = await ask(egress.port, `http://two.test:${app.port}/x`);
    expect([answer.status, answer.body]).toEqual([401, "who?"]);
    expect(new Set(addressOf(provider.seen).map(([address]) => address))).toEqual(new Set(["127.0.0.1", "127.0.0.2"]));
    expect(await egress.sidecar.audit.next(() => true)).toMatchObject({ decision: "deny", rule: RULE });
    expect(app.requests).toEqual([]);
  });

  it("has only the address dialled that the provider allows", async () => {
    const app = await startServer();
    const provider = await grpc(({ attributes }) =>
      attributes.destination.address.socketAddress.address === "127.0.0.1" ? OK : NO,
    );
    const egress = await startWith(EVERYTHING + asking(AT), grpcAt(provider.port), {});
    const answers = await Promise.all([1, 2, 3].map((n) => ask(egress.port, `http://two.test:${app.port}/${n}`)));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
  });

  it("is not met where another address of the name needs nobody's word", async () => {
    const provider = await grpc(() => OK);
    const egress = await startWith(EVERYTHING + asking(SECOND), grpcAt(provider.port), {});
    const answer = await ask(egress.port, `http://two.test:${await freePort()}/x`);
    expect(answer.headers[CODE]).toBe("E_UPSTREAM_CONNECT");
    expect(provider.seen).toEqual([]);
    expect(egress.sidecar.audit.ended[0]?.destinationAddress ?? "127.0.0.2").toMatch(/^127\.0\.0\.2/);
  });

  it("has nobody asked again about an open request as time passes, but under another policy", async () => {
    const app = await startServer((_, response) => response.writeHead(200).write("begun"));
    const provider = await grpc(() => OK);
    const policies = EVERYTHING + asking(AT) + BY_TIME;
    const egress = await startWith(policies, grpcAt(provider.port), {});
    const client = await rawClient(egress.port);
    cleanups.push(() => client.socket.destroy());
    client.send(`GET http://api.test:${app.port}/ HTTP/1.1\r\nHost: a\r\n\r\n`);
    await client.until((text) => text.includes("begun"));
    egress.sidecar.setPolicies(policies);
    expect((await ask(egress.port, "http://denied.example/")).status).toBe(403);
    expect(provider.seen).toHaveLength(1);
    egress.sidecar.setPolicies(EVERYTHING + asking(AT.replace("127.0.0.0/8", "127.0.0.0/9")) + BY_TIME);
    await eventually(() => expect(provider.seen).toHaveLength(2));
    egress.sidecar.setPolicies(policies);
    await eventually(() => expect(provider.seen).toHaveLength(3));
    expect(addressOf(provider.seen)).toEqual(Array(3).fill(["127.0.0.1", app.port]));
    expect(egress.sidecar.sidecar.activeCalls).toBe(1);
  });

  it("that fails is not asked about the next address", async () => {
    const provider = await grpc(() => new Error("boom"));
    const egress = await startWith(EVERYTHING + asking(AT), grpcAt(provider.port), {});
    expect((await ask(egress.port, "http://two.test:8080/x")).headers[CODE]).toBe("E_EXT_AUTHZ_FAILED");
    expect(provider.seen).toHaveLength(1);
  });

  it("says nothing of a name that cannot be resolved", async () => {
    const provider = await grpc(() => OK);
    const egress = await startWith(EVERYTHING + asking(AT), grpcAt(provider.port), {});
    const answer = await ask(egress.port, "http://nowhere.test:8080/x");
    expect([answer.status, answer.headers[CODE]]).toEqual([502, "E_EGRESS_RESOLVE"]);
    expect(provider.seen).toEqual([]);
  });
});

/** How a caller asks for a tunnel. */
interface Front {
  readonly name: string;
  readonly protocol: string;
  /** Opens one, or fails with how it was refused. */
  readonly open: (
    egress: Egress,
    host: string,
    port: number,
  ) => Promise<{ client: RawClient; refusal: string | undefined }>;
  /** Asks for one and waits for nothing. */
  readonly request: (host: string, port: number) => Uint8Array;
}

const fronts: readonly Front[] = [
  {
    name: "CONNECT",
    protocol: "HTTP/1.1",
    async open(egress, host, port) {
      const client = await connectTo(egress, `${host}:${port}`, "Proxy-Authorization: Basic c2VjcmV0\r\nX-App: 1\r\n");
      const status = client.received.slice(0, client.received.indexOf("\r\n"));
      return { client, refusal: status.includes(" 200 ") ? undefined : status };
    },
    request: (host, port) => Buffer.from(`CONNECT ${host}:${port} HTTP/1.1\r\nHost: a\r\n\r\n`),
  },
  {
    name: "SOCKS5",
    protocol: "SOCKS5",
    async open(egress, host, port) {
      const request =
        host === "127.0.0.1" ? Uint8Array.of(5, 1, 0, 1, 127, 0, 0, 1, ...u16(port)) : socksName(host, port);
      const { client, reply } = await socksTo(egress, request);
      return { client, refusal: reply === 0 ? undefined : `reply ${reply}` };
    },
    request: (host, port) => Buffer.concat([Uint8Array.of(5, 1, 0), socksName(host, port)]),
  },
];

describe.each(fronts)("a tunnel by $name that a CUSTOM rule matches", (front) => {
  let server: TlsApp;
  beforeEach(async () => {
    server = await startTlsApp(ca);
    cleanups.push(() => server.close());
  });

  const begin = (policies: string, provider: string): Promise<Egress> =>
    startWith(policies, provider, { forward: `addresses: [127.0.0.0/8], ports: [${server.port}]` });

  it("is opened once its provider allows, which is asked once and knows who calls whom", async () => {
    const provider = await grpc(() => ({ ...OK, okResponse: { headers: [header("x-a", "1")] } }));
    const egress = await begin(EVERYTHING + asking(), grpcAt(provider.port));
    const { client } = await front.open(egress, "api.test", server.port);
    expect(await echoed(await tlsInside(client, "api.test"), "hello")).toBe("tls:hello");
    client.socket.end();
    expect(await egress.sidecar.audit.next(() => true)).toMatchObject({ decision: "allow", kind: "connection" });
    expect(provider.seen).toHaveLength(1);
    const [attributes] = provider.seen.map((one) => one.attributes);
    expect(attributes?.source.principal).toBe(WEB);
    const http = attributes?.request.http;
    const authority = `api.test:${server.port}`;
    expect(http).toMatchObject({ method: "CONNECT", host: authority, path: "", protocol: front.protocol });
    expect(http?.headers["x-app"]).toBe(front.name === "CONNECT" ? "1" : undefined);
    expect(http?.headers).not.toHaveProperty("proxy-authorization");
    expect(addressOf(provider.seen)).toEqual([["", server.port]]);
  });

  it.each<readonly [string, string, Answer]>([
    ["says no", "E_EXT_AUTHZ_DENIED", () => NO],
    ["says nothing in time", "E_EXT_AUTHZ_TIMEOUT", SILENCE],
    ["fails", "E_EXT_AUTHZ_FAILED", () => new Error("boom")],
    ["says neither yes nor no", "E_EXT_AUTHZ_FAILED", () => ({})],
  ])("is refused when its provider %s: its host is not even looked up", async (_, code, answer) => {
    const provider = await grpc(answer);
    const egress = await begin(EVERYTHING + asking(), grpcAt(provider.port, answer));
    const { refusal } = await front.open(egress, "nowhere.test", server.port);
    expect(refusal).toMatch(front.name === "CONNECT" ? `HTTP/1.1 403 ${code}: ` : "reply 2");
    expect(egress.sidecar.audit.ended).toMatchObject([
      { decision: "deny", reason: code, rule: RULE, close: "refused" },
    ]);
    expect(egress.sidecar.audit.ended[0]?.detail).toMatch(/\bp\b/);
    expect([server.connections, egress.sidecar.audit.open]).toEqual([0, 0]);
  });

  it("is refused where nobody listens as the provider", async () => {
    const egress = await begin(EVERYTHING + asking(), grpcAt(await freePort()));
    expect((await front.open(egress, "api.test", server.port)).refusal).toMatch(/403 E_EXT_AUTHZ_FAILED|reply 2/);
    expect(server.connections).toBe(0);
  });

  it("still needs a policy that allows it", async () => {
    const provider = await grpc(() => OK);
    const egress = await begin(allowOutbound("hosts: [other.test]") + asking(), grpcAt(provider.port));
    expect((await front.open(egress, "api.test", server.port)).refusal).toMatch(/403 E_POLICY_DENIED|reply 2/);
    expect(server.connections).toBe(0);
  });

  it("is refused where its provider is asked over HTTP: it would take the question for a tunnel of its own", async () => {
    const provider = `extensionProviders: [{ name: p, envoyExtAuthzHttp: { service: 127.0.0.1, port: 1 } }]
authorization: { mode: istio }`;
    const egress = await begin(EVERYTHING + asking(), provider);
    expect((await front.open(egress, "api.test", server.port)).refusal).toMatch(/403 E_POLICY_PROVIDER|reply 2/);
    expect(egress.sidecar.audit.ended).toMatchObject([{ decision: "deny", rule: RULE }]);
  });

  it("has the provider asked for its address once that is known", async () => {
    const provider = await grpc(({ attributes }) =>
      attributes.destination.address.socketAddress.address === "127.0.0.1" ? OK : NO,
    );
    const rules = '[{ when: [{ key: destination.ip, values: ["127.0.0.0/8"] }] }]';
    const egress = await begin(EVERYTHING + asking(rules), grpcAt(provider.port));
    const { client } = await front.open(egress, "two.test", server.port);
    expect(await echoed(await tlsInside(client, "two.test"), "hello")).toBe("tls:hello");
    expect(addressOf(provider.seen).at(-1)).toEqual(["127.0.0.1", server.port]);
    const denied = await begin(EVERYTHING + asking(rules), grpcAt((await grpc(() => NO)).port));
    expect((await front.open(denied, "two.test", server.port)).refusal).toMatch(/403 E_EXT_AUTHZ_DENIED|reply 2/);
    expect(server.connections).toBe(1);
  });

  it("has the provider asked about the server that its TLS names, before a byte is sent", async () => {
    const provider = await grpc(({ attributes }) => (attributes.tlsSession?.sni === "good.test" ? OK : NO));
    const rules = '[{ when: [{ key: connection.sni, values: ["*.test"] }] }]';
    const egress = await begin(EVERYTHING + asking(rules), grpcAt(provider.port));
    const good = await front.open(egress, "127.0.0.1", server.port);
    expect(await echoed(await tlsInside(good.client, "good.test"), "hello")).toBe("tls:hello");
    const { received } = server;
    const bad = await front.open(egress, "127.0.0.1", server.port);
    await expect(tlsInside(bad.client, "bad.test")).rejects.toThrow(/access.denied/i);
    expect(await egress.sidecar.audit.next(() => true)).toMatchObject({
      decision: "deny",
      reason: "E_EXT_AUTHZ_DENIED",
    });
    expect(server.received).toBe(received);
    expect(addressOf(provider.seen)).toEqual([
      ["127.0.0.1", server.port],
      ["127.0.0.1", server.port],
    ]);
  });

  it("need not wait any more once its caller has left", async () => {
    const { provider, asked } = await silentProvider();
    const egress = await begin(EVERYTHING + asking(), grpcAt(provider.port));
    const client = await rawClient(egress.port);
    client.send(front.request("api.test", server.port));
    await asked;
    client.socket.destroy();
    expect(await egress.sidecar.audit.next(() => true)).toMatchObject({ reason: "E_CALLER_GONE", decision: "error" });
    expect([server.connections, egress.sidecar.audit.open]).toEqual([0, 0]);
  });

  it("is decided anew when the policy changes while the provider thinks", async () => {
    const { provider, asked } = await silentProvider();
    const egress = await begin(EVERYTHING + asking(), grpcAt(provider.port));
    const opening = front.open(egress, "api.test", server.port);
    await asked;
    egress.sidecar.setPolicies(EVERYTHING);
    const { client } = await opening;
    expect(await echoed(await tlsInside(client, "api.test"), "hello")).toBe("tls:hello");
    expect(provider.seen).toHaveLength(1);
  });

  it.each<readonly [string, (egress: Egress) => void, string]>([
    [
      "a new policy denies it",
      ({ sidecar }) => sidecar.setPolicies(allowOutbound("hosts: [other.test]")),
      "E_POLICY_DENIED_BY_DEFAULT",
    ],
    ["the sidecar stops", ({ sidecar }) => void sidecar.sidecar.drain(0), "E_DRAIN_CUT"],
  ])("is refused at once, however long its provider thinks, when %s", async (_, happens, reason) => {
    const { provider, asked } = await silentProvider();
    const egress = await begin(EVERYTHING + asking(), grpcAt(provider.port));
    const client = await rawClient(egress.port);
    client.send(front.request("api.test", server.port));
    await asked;
    happens(egress);
    await client.closed();
    expect(await egress.sidecar.audit.next(() => true)).toMatchObject({ reason, close: "refused" });
    expect([server.connections, egress.sidecar.audit.open]).toEqual([0, 0]);
  });

  it.each<readonly [string, Answer, string]>([
    ["denies", () => NO, "E_EXT_AUTHZ_DENIED"],
    ["fails", () => new Error("boom"), "E_EXT_AUTHZ_FAILED"],
    ["says nothing", SILENCE, "E_EXT_AUTHZ_TIMEOUT"],
  ])("ends while it is open when a new policy has a provider asked that %s", async (_, answer, reason) => {
    const provider = await grpc(answer);
    const egress = await begin(EVERYTHING, grpcAt(provider.port, answer));
    const { client } = await front.open(egress, "api.test", server.port);
    expect(await echoed(await tlsInside(client, "api.test"), "hello")).toBe("tls:hello");
    egress.sidecar.setPolicies(EVERYTHING + asking());
    expect(await egress.sidecar.audit.next(() => true)).toMatchObject({ decision: "deny", reason, rule: RULE });
    expect(addressOf(provider.seen)).toEqual([["127.0.0.1", server.port]]);
    expect(provider.seen[0]?.attributes.tlsSession?.sni).toBe("api.test");
  });

  it("stays open when a new policy has a provider asked that allows, and carries on while it thinks", async () => {
    const provider = await grpc(() => OK);
    const egress = await begin(EVERYTHING, grpcAt(provider.port));
    const { client } = await front.open(egress, "api.test", server.port);
    const tls = await tlsInside(client, "api.test");
    egress.sidecar.setPolicies(EVERYTHING + asking());
    expect(await echoed(tls, "hello")).toBe("tls:hello");
    await eventually(() => expect(provider.seen).toHaveLength(1));
    egress.sidecar.setPolicies(EVERYTHING + asking("[{}, {}]"));
    await eventually(() => expect(provider.seen).toHaveLength(2));
    expect(await echoed(tls, "again")).toBe("tls:again");
    expect(egress.sidecar.sidecar.activeCalls).toBe(1);
  });

  it("has nobody asked again while it is open as time passes", async () => {
    const provider = await grpc(() => OK);
    const policies = EVERYTHING + asking() + BY_TIME;
    const egress = await begin(policies, grpcAt(provider.port));
    const { client } = await front.open(egress, "api.test", server.port);
    const tls = await tlsInside(client, "api.test");
    egress.sidecar.setPolicies(policies);
    expect(await echoed(tls, "hello")).toBe("tls:hello");
    expect(provider.seen).toHaveLength(1);
    expect(egress.sidecar.sidecar.activeCalls).toBe(1);
  });

  it("is asked about once while it is open, however often it is decided under the same policy", async () => {
    const provider = await grpc(SILENCE);
    const egress = await begin(EVERYTHING, grpcAt(provider.port, SILENCE));
    const { client } = await front.open(egress, "api.test", server.port);
    await tlsInside(client, "api.test");
    egress.sidecar.setPolicies(EVERYTHING + asking());
    await eventually(() => expect(provider.seen).toHaveLength(1));
    egress.sidecar.setPolicies(EVERYTHING + asking());
    expect(await egress.sidecar.audit.next(() => true)).toMatchObject({ reason: "E_EXT_AUTHZ_TIMEOUT" });
    expect(provider.seen).toHaveLength(1);
  });

  it("that carries HTTP is asked about, and each of its requests", async () => {
    const app = await startServer();
    const provider = await grpc(({ attributes }) => (attributes.request.http?.path === "/no" ? NO : OK));
    const egress = await startWith(EVERYTHING + asking(), grpcAt(provider.port), {
      forward: `addresses: [127.0.0.0/8], ports: [${app.port}]`,
    });
    const { client } = await front.open(egress, "api.test", app.port);
    client.send(`GET /yes HTTP/1.1\r\nHost: api.test:${app.port}\r\n\r\n`);
    await client.until((text) => text.endsWith("served"));
    client.send(`GET /no HTTP/1.1\r\nHost: api.test:${app.port}\r\n\r\n`);
    await client.until((text) => text.includes("E_EXT_AUTHZ_DENIED"));
    expect(provider.seen.map(({ attributes }) => attributes.request.http?.method)).toEqual(["CONNECT", "GET", "GET"]);
    expect(app.requests.map(({ url }) => url)).toEqual(["/yes"]);
  });

  it("into the mesh is asked about once, by whom the server must prove to be, and again under a new policy", async () => {
    const echo = await startTcpApp((socket) => socket.pipe(socket));
    cleanups.push(() => echo.close());
    const orders = await startTestSidecar({
      ca,
      svid: ca.issue({ spiffeId: ORDERS }),
      policies: ALLOW_WEB,
      config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${echo.port}", protocol: tcp }]`,
    });
    cleanups.push(() => orders.sidecar.drain(0));
    let says: CheckReply = OK;
    const provider = await grpc(() => says);
    const port = orders.port("in");
    const egress = await startWith(EVERYTHING + asking(), `${grpcAt(provider.port)}\ntimeouts: { classify: 100ms }`, {
      forward: `hosts: { "api.test:${port}": "${ORDERS}" }, addresses: [127.0.0.0/8], ports: []`,
    });
    const { client } = await front.open(egress, "api.test", port);
    client.send("\x01\x02opaque");
    await client.until((text) => text.endsWith("\x01\x02opaque"));
    expect(provider.seen.map(({ attributes }) => attributes.destination.principal)).toEqual([ORDERS]);
    says = NO;
    egress.sidecar.setPolicies(EVERYTHING + asking("[{}, {}]"));
    expect(await egress.sidecar.audit.next(() => true)).toMatchObject({
      decision: "deny",
      reason: "E_EXT_AUTHZ_DENIED",
    });
    expect(addressOf(provider.seen)).toEqual([
      ["", port],
      ["127.0.0.1", port],
    ]);
  });
});

describe("a CONNECT that a provider denies", () => {
  it.each([
    [
      "gets the provider's own answer",
      { status: { code: 407 }, headers: [header("x-why", "7")], body: "who are you?" },
      407,
    ],
    ["is never told that it has succeeded", { status: { code: 200 }, headers: [], body: "who are you?" }, 403],
    ["is not answered before its body is there", { status: { code: 204 }, headers: [], body: "who are you?" }, 403],
  ])("%s", async (_, deniedResponse, status) => {
    const provider = await grpc(() => ({ ...NO, deniedResponse }));
    const egress = await startWith(EVERYTHING + asking(), grpcAt(provider.port), {
      forward: "addresses: [127.0.0.0/8], ports: [443]",
    });
    const client = await connectTo(egress, "api.test:443");
    const text = await client.closed();
    expect(text).toContain(`HTTP/1.1 ${status} E_EXT_AUTHZ_DENIED: the provider p denied the call\r\n`);
    expect(text.endsWith("\r\n\r\nwho are you?")).toBe(true);
    if (deniedResponse.headers.length > 0) expect(text).toContain("x-why: 7");
  });
});
