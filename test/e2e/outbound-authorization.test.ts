import { describe, expect, it } from "vitest";
import { freePorts } from "../../bench/ports.ts";
import { startApp, startTcpApp, type TestApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { atEnd } from "../support/at-end.ts";
import { createTestCa } from "../support/cert-factory.ts";
import { type CheckReply, type ExtAuthzServer, header, startExtAuthzServer } from "../support/ext-authz-server.ts";
import { ALLOW_WEB, ORDERS, startTestSidecar, type TestSidecar, TRUST_DOMAIN, WEB } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";

const OK = { status: { code: 0 } };
const ASK = `apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: ask, namespace: shop }
spec:
  direction: OUTBOUND
  action: CUSTOM
  provider: { name: p }
  rules: [{ to: [{ operation: { principals: [example.org/ns/shop/sa/orders] } }] }]
`;
const outboundDocument = (name: string, action: string, rules: string): string => `---
apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec: { direction: OUTBOUND, action: ${action}, rules: ${rules} }
`;

interface World {
  readonly provider: ExtAuthzServer;
  readonly outbound: TestSidecar;
  readonly port: number;
}

/** web's sidecar, which asks a provider, → orders' sidecar → an app. */
async function world(
  appPort: number,
  protocol: "http" | "tcp",
  answer: () => CheckReply | Error | undefined,
  more: {
    readonly policies?: string;
    readonly listen?: string;
    readonly provider?: number;
    readonly outbound?: string;
  } = {},
): Promise<World> {
  const provider = await startExtAuthzServer(answer);
  atEnd(() => provider.close());
  const ca = createTestCa(TRUST_DOMAIN);
  const inbound = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: ORDERS }),
    policies: ALLOW_WEB,
    config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${appPort}", protocol: ${protocol} }]`,
  });
  atEnd(() => inbound.sidecar.drain(0));
  const outbound = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: WEB }),
    policies: ASK + (more.policies ?? ""),
    config: `outbound: [{ name: out, listen: "${more.listen ?? "127.0.0.1:0"}", to: ["127.0.0.1:${inbound.port("in")}"], identity: "${ORDERS}", protocol: ${protocol}${more.outbound ?? ""} }]
extensionProviders: [{ name: p, envoyExtAuthzGrpc: { service: 127.0.0.1, port: ${more.provider ?? provider.port}, timeout: 400ms } }]`,
  });
  atEnd(() => outbound.sidecar.drain(0));
  return { provider, outbound, port: outbound.port("out") };
}

async function freePort(): Promise<number> {
  const [port = 0] = await freePorts(1);
  return port;
}

async function httpApp(): Promise<TestApp> {
  const app = await startApp((_, response) => response.end("served"));
  atEnd(() => app.close());
  return app;
}

describe("an outbound call that a CUSTOM rule matches", () => {
  it("goes on when its provider allows, which knows who calls whom, with what the provider made of it", async () => {
    const app = await httpApp();
    const okResponse = { headers: [header("x-purpose", "audit")], headersToRemove: ["x-secret"] };
    const { provider, outbound, port } = await world(app.port, "http", () => ({ ...OK, okResponse }));
    const answer = await ask(port, "/charge?x=%2F", { method: "POST", headers: { "x-secret": "1" } });
    expect([answer.status, answer.body]).toEqual([200, "served"]);
    const attributes = provider.seen[0]?.attributes;
    expect([attributes?.source.principal, attributes?.destination.principal]).toEqual([WEB, ORDERS]);
    expect(attributes?.request.http).toMatchObject({ method: "POST", path: "/charge?x=%2F" });
    expect(app.requests[0]?.url).toBe("/charge?x=%2F");
    expect([app.requests[0]?.headers["x-purpose"], app.requests[0]?.headers["x-secret"]]).toEqual(["audit", undefined]);
    expect(await outbound.audit.next(() => true)).toMatchObject({ decision: "allow", status: 200 });
  });

  it("still needs the other OUTBOUND policies", async () => {
    const app = await httpApp();
    const policies =
      outboundDocument("only", "ALLOW", "[{ to: [{ operation: { methods: [GET] } }] }]") +
      outboundDocument("no", "DENY", "[{ to: [{ operation: { paths: [/admin] } }] }]");
    const { provider, port } = await world(app.port, "http", () => OK, { policies });
    expect((await ask(port, "/x")).status).toBe(200);
    expect((await ask(port, "/x", { method: "PUT" })).headers["x-countersign-code"]).toBe("E_POLICY_DENIED_BY_DEFAULT");
    expect((await ask(port, "/admin")).headers["x-countersign-code"]).toBe("E_POLICY_DENIED_BY_RULE");
    expect(provider.seen).toHaveLength(3);
    expect(app.requests).toHaveLength(1);
  });

  it.each<readonly [string, string, () => CheckReply | Error | undefined]>([
    ["says no", "E_EXT_AUTHZ_DENIED", () => ({ status: { code: 7 } })],
    ["says nothing in time", "E_EXT_AUTHZ_TIMEOUT", () => undefined],
    ["fails", "E_EXT_AUTHZ_FAILED", () => new Error("boom")],
    [
      "would change the host",
      "E_EXT_AUTHZ_FAILED",
      () => ({ ...OK, okResponse: { headers: [header("host", "evil")] } }),
    ],
  ])("is denied when its provider %s: nothing leaves, and the record names the rule", async (_, code, answer) => {
    const app = await httpApp();
    const { outbound, port } = await world(app.port, "http", answer);
    const denied = await ask(port, "/x");
    expect([denied.status, denied.headers["x-countersign-code"]]).toEqual([403, code]);
    expect(await outbound.audit.next(() => true)).toMatchObject({
      decision: "deny",
      reason: code,
      rule: "ns[shop]-policy[ask]-rule[0]",
    });
    expect(app.requests).toEqual([]);
  });

  it("is denied at once where its provider is reached through the same listener: the check would wait for itself", async () => {
    const app = await httpApp();
    const port = await freePort();
    const listener = { listen: `127.0.0.1:${port}`, provider: port };
    const { outbound } = await world(app.port, "http", () => OK, listener);
    const denied = await ask(port, "/x");
    expect([denied.status, denied.headers["x-countersign-code"]]).toEqual([403, "E_EXT_AUTHZ_FAILED"]);
    expect(outbound.audit.ended).toHaveLength(1);
    expect(app.requests).toEqual([]);
  });

  it("is decided by the Host that the server gets, whatever the app wrote there", async () => {
    const app = await httpApp();
    const rule = "{ to: [{ operation: { hosts: [bank.example], paths: [/admin] } }] }";
    const more = { policies: outboundDocument("no", "DENY", `[${rule}]`), outbound: ", authority: bank.example" };
    const { provider, outbound, port } = await world(app.port, "http", () => OK, more);
    const headers = { host: "shop.example" };
    expect((await ask(port, "/x", { headers })).status).toBe(200);
    expect(provider.seen[0]?.attributes?.request.http).toMatchObject({ host: "bank.example" });
    expect(app.requests[0]?.headers.host).toBe("bank.example");
    const denied = await ask(port, "/admin", { headers });
    expect(denied.headers["x-countersign-code"]).toBe("E_POLICY_DENIED_BY_RULE");
    const record = await outbound.audit.next(({ decision }) => decision === "deny");
    expect(record).toMatchObject({ authority: "bank.example" });
    expect(app.requests).toHaveLength(1);
  });

  it("asks nobody once no policy says so", async () => {
    const app = await httpApp();
    const { provider, outbound, port } = await world(app.port, "http", () => ({ status: { code: 7 } }));
    outbound.setPolicies("");
    expect((await ask(port, "/x")).status).toBe(200);
    expect(provider.seen).toEqual([]);
  });
});

describe("an outbound TCP connection that a CUSTOM rule matches", () => {
  const tcpApp = async (): Promise<Awaited<ReturnType<typeof startTcpApp>>> => {
    const app = await startTcpApp((socket) => socket.write("hello"));
    atEnd(() => app.close());
    return app;
  };

  it("is opened once the provider allows", async () => {
    const app = await tcpApp();
    const { provider, port } = await world(app.port, "tcp", () => OK);
    const client = await rawClient(port);
    atEnd(() => client.socket.destroy());
    await client.until((text) => text === "hello");
    const attributes = provider.seen[0]?.attributes;
    expect([attributes?.source.principal, attributes?.destination.principal]).toEqual([WEB, ORDERS]);
  });

  it("is closed before anything is dialled when it does not", async () => {
    const app = await tcpApp();
    const { outbound, port } = await world(app.port, "tcp", () => ({ status: { code: 7 } }));
    const client = await rawClient(port);
    client.send("secret");
    expect(await client.closed()).toBe("");
    expect(await outbound.audit.next(() => true)).toMatchObject({ decision: "deny", reason: "E_EXT_AUTHZ_DENIED" });
    expect(app.sockets).toEqual([]);
  });
});
