import { type EventEmitter, once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { startApp, startTcpApp, type TestApp } from "../support/app.ts";
import { createTestCa, type TestCa } from "../support/cert-factory.ts";
import { allowOutbound, startEgress, startTlsApp } from "../support/egress.ts";
import { eventually } from "../support/eventually.ts";
import { type CheckReply, header, startExtAuthzServer } from "../support/ext-authz-server.ts";
import type { MemoryAudit } from "../support/memory-audit.ts";
import { ALLOW_WEB, type Mesh, ORDERS, startMesh, startTestSidecar, TRUST_DOMAIN, WEB } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";
import { ISSUER, jwkSet, serveDocuments, token, tokenKey } from "../support/token-issuer.ts";
import { connectTo, echoed, tlsInside } from "../support/tunnels.ts";

// A policy comes, or time passes, while a call waits, is dialled or is open, and a provider is asked or an upstream breaks meanwhile.

/** The longest that a call may outlive its permission. */
const WITHIN_MS = 1000;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  // the last that was opened first
  // oxlint-disable-next-line no-await-in-loop -- one after the other
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

const get = (path: string, lines = ""): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n${lines}\r\n`;

const policy = (name: string, spec: string, api = "countersign.dev/v1"): string => `---
apiVersion: ${api}
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec: { ${spec} }
`;
const CUSTOM = policy("ask", "action: CUSTOM, provider: { name: p }, rules: [{}]");
const DENY = policy("deny", "action: DENY, rules: [{}]");
/** `rules`: to make it another policy. */
const customOut = (rules = "[{}]"): string =>
  policy("ask", `direction: OUTBOUND, action: CUSTOM, provider: { name: p }, rules: ${rules}`);
const DENIED = { decision: "deny", reason: "E_POLICY_DENIED_BY_RULE", rule: "ns[shop]-policy[deny]-rule[0]" };

/** A provider that allows calls when it is told to. */
async function startProvider(allowing: CheckReply = { status: { code: 0 } }) {
  const waiting: (() => void)[] = [];
  let isPatient = true;
  const server = await startExtAuthzServer(
    () =>
      new Promise((resolve) => {
        const answer = (): void => resolve(allowing);
        if (isPatient) waiting.push(answer);
        else answer();
      }),
  );
  cleanups.push(() => server.close());
  return {
    yaml: (more = ""): string =>
      `extensionProviders: [{ name: p, envoyExtAuthzGrpc: { service: 127.0.0.1, port: ${server.port}, timeout: 60s${more} } }]`,
    seen: server.seen,
    /** Allows all that it was asked, and all that it will be. */
    allow(): void {
      isPatient = false;
      for (const answer of waiting.splice(0)) answer();
    },
    /** Allows what it was asked. */
    answer(): void {
      for (const answer of waiting.splice(0)) answer();
    },
  };
}
type Provider = Awaited<ReturnType<typeof startProvider>>;

/** A way to a port on which the server's bytes can be held back, so that handshakes last, and which can break. */
async function startGate(port: number) {
  const held: (() => void)[] = [];
  const open = new Set<Socket>();
  const gate = { isClosed: false, connections: 0 };
  const server = createServer((down) => {
    gate.connections++;
    const up = connect(port, "127.0.0.1");
    for (const socket of [down, up]) {
      open.add(socket);
      socket.on("error", () => undefined);
      socket.once("close", () => {
        open.delete(socket);
        down.destroy();
        up.destroy();
      });
    }
    down.on("data", (chunk) => up.write(chunk));
    up.on("data", (chunk) => {
      if (gate.isClosed) held.push(() => down.write(chunk));
      else down.write(chunk);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("no port");
  return {
    port: address.port,
    get connections() {
      return gate.connections;
    },
    close(): void {
      gate.isClosed = true;
    },
    release(): void {
      gate.isClosed = false;
      for (const write of held.splice(0)) write();
    },
    breakAll(): void {
      for (const socket of open) socket.resetAndDestroy();
    },
  };
}

/** web's sidecar, whose way to orders' sidecar is a gate, and whose provider is asked by OUTBOUND policies. */
async function gated(appPort: number, protocol: string, provider: Provider, policies = "") {
  const mesh = await startMesh({ appPort, protocol });
  cleanups.push(() => mesh.close());
  const gate = await startGate(mesh.meshPort);
  const web = await startTestSidecar({
    ca: mesh.ca,
    svid: mesh.ca.issue({ spiffeId: WEB }),
    policies,
    config: `outbound:
  - { name: out, listen: "127.0.0.1:0", to: ["127.0.0.1:${gate.port}"], identity: "${ORDERS}", protocol: ${protocol} }
${provider.yaml()}
timeouts: { connect: 60s, handshake: 60s }`,
  });
  cleanups.push(() => web.sidecar.drain(0));
  return { web, gate, port: web.port("out") };
}

/** Whether or not by an error. */
const closedOf = (stream: EventEmitter): Promise<void> =>
  new Promise((resolve) => stream.once("close", () => resolve()));

interface Reply {
  /** All that the caller has got, once its call is over. */
  readonly text: Promise<string>;
}

/** Ways to send one GET. */
const callers: Readonly<Record<string, (port: number, path: string, lines: Record<string, string>) => Promise<Reply>>> =
  {
    "HTTP/1.1": async (port, path, lines) => {
      const client = await rawClient(port);
      cleanups.push(() => client.socket.destroy());
      const fields = Object.entries(lines).map(([name, value]) => `${name}: ${value}\r\n`);
      client.send(get(path, `Connection: close\r\n${fields.join("")}`));
      return { text: client.closed() };
    },
    "HTTP/2": async (port, path, lines) => {
      const session = connectHttp2(`http://127.0.0.1:${port}`);
      session.on("error", () => undefined);
      cleanups.push(() => session.destroy());
      const stream = session.request({ ":path": path, ...lines });
      const got: string[] = [];
      stream.on("response", (head) => got.push(`${head[":status"]} ${String(head["x-countersign-code"])} `));
      stream.on("data", (chunk: Buffer) => got.push(chunk.toString("latin1")));
      stream.on("error", ({ message }) => got.push(message));
      return { text: closedOf(stream).then(() => got.join("")) };
    },
  };

describe("while an upstream is dialled", () => {
  it.each([
    ["that nobody was asked about", ""],
    ["that a provider was asked about", customOut()],
  ])("a TCP connection %s has its bytes sent once, however many policies have a provider asked", async (_, before) => {
    const provider = await startProvider();
    const got: string[] = [];
    const app = await startTcpApp((socket) => {
      const at = got.push("") - 1;
      socket.on("data", (chunk: Buffer) => {
        got[at] += chunk.toString("latin1");
        socket.write(chunk);
      });
    });
    cleanups.push(() => app.close());
    const { web, gate, port } = await gated(app.port, "tcp", provider, before);
    gate.close();
    const client = await rawClient(port);
    client.send("transfer 100;");
    if (before !== "") await eventually(() => expect(provider.seen).toHaveLength(1));
    provider.answer();
    await eventually(() => expect(gate.connections).toBe(1));
    const asked = provider.seen.length;
    const allowed = (): number => web.sidecar.providers[0]?.allowed ?? 0;
    for (let more = 1; more <= 3; more++) {
      web.setPolicies(customOut(`[${"{}, ".repeat(more)}{}]`));
      // oxlint-disable-next-line no-await-in-loop -- one policy after the other
      await eventually(() => expect(provider.seen).toHaveLength(asked + more));
      provider.answer();
      // oxlint-disable-next-line no-await-in-loop -- likewise
      await eventually(() => expect(allowed()).toBe(asked + more));
    }
    provider.allow();
    gate.release();
    await client.until((text) => text.includes("transfer 100;"));
    expect(client.received).toBe("transfer 100;");
    expect(got).toEqual(["transfer 100;"]);
    expect(web.audit.notes).toHaveLength(1);
    gate.breakAll();
    await client.closed();
    await web.audit.next(() => true);
    expect([web.audit.ended.length, web.audit.open]).toEqual([1, 0]);
  });

  it.each(Object.keys(callers))("a call by %s that a new policy denies is over at once", async (name) => {
    const app = await startApp((_, response) => void response.end("served"));
    cleanups.push(() => app.close());
    const { web, gate, port } = await gated(app.port, "http", await startProvider());
    gate.close();
    const call = await callers[name]?.(port, "/x", {});
    await eventually(() => expect(gate.connections).toBe(1));
    web.setPolicies(policy("deny", "direction: OUTBOUND, action: DENY, rules: [{}]"));
    expect(await call?.text).toContain("E_POLICY_DENIED_BY_RULE");
    expect(web.audit.ended).toMatchObject([DENIED]);
    expect(app.requests).toEqual([]);
  });
});

describe("while a provider is asked about an open call", () => {
  it.each([
    ["HTTP/1.1", "http"],
    ["HTTP/2", "http"],
    ["HTTP/1.1", "http1"],
  ])("and its upstream breaks, one by %s is sent once more, and has one response (%s)", async (name, protocol) => {
    const provider = await startProvider();
    const app = await startApp((_, response) => {
      if (app.requests.length > 1) response.end(`[response ${app.requests.length}]`);
    });
    cleanups.push(() => app.close());
    const { web, gate, port } = await gated(app.port, protocol, provider);
    const call = await callers[name]?.(port, "/x", {});
    await eventually(() => expect(app.requests).toHaveLength(1));
    gate.close();
    web.setPolicies(customOut());
    await eventually(() => expect(provider.seen).toHaveLength(1));
    gate.breakAll();
    await eventually(() => expect(gate.connections + provider.seen.length).toBeGreaterThan(2));
    provider.allow();
    await eventually(() => expect(web.sidecar.providers[0]?.allowed).toBe(1));
    await eventually(() => expect(gate.connections).toBe(2));
    gate.release();
    const text = await call?.text;
    expect(text).toMatch(/200 [\s\S]*\[response 2\]/);
    expect(text?.split("[response")).toHaveLength(2);
    expect([app.requests.length, web.audit.ended.length, web.audit.open]).toEqual([2, 1, 0]);
    expect(web.audit.ended).toMatchObject([{ decision: "allow", retries: 1 }]);
  });
});

const rsa = tokenKey("RS256", "rsa");
const authentication = (more: string, jwks = `jwks: '${jwkSet(rsa)}'`): string => `---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: idp, namespace: shop }
spec: { jwtRules: [{ issuer: ${ISSUER}, audiences: [orders], ${jwks}${more} }] }
`;

describe.each(Object.entries(callers))("a call by %s", (_, start) => {
  const bearer = { authorization: `Bearer ${token(rsa)}` };

  async function meshTo(app: TestApp, more: string, policies = ALLOW_WEB): Promise<Mesh> {
    cleanups.push(() => app.close());
    const mesh = await startMesh({ appPort: app.port, policies, inboundSide: more });
    cleanups.push(() => mesh.close());
    return mesh;
  }

  it("is sent again as the policy in force makes it", async () => {
    const app = await startApp((_request, response) => {
      if (app.requests.length > 1) response.end("served");
    });
    const mesh = await meshTo(app, "", ALLOW_WEB + authentication(", forwardOriginalToken: true"));
    const call = await start(mesh.port, "/x", { ...bearer, "x-user": "evil" });
    await eventually(() => expect(app.requests).toHaveLength(1));
    mesh.inbound.setPolicies(ALLOW_WEB + authentication(", outputClaimToHeaders: [{ header: x-user, claim: sub }]"));
    app.requests[0]?.socket.destroy();
    expect(await call.text).toContain("served");
    expect(app.requests.map(({ headers }) => [headers["x-user"], headers.authorization])).toEqual([
      ["evil", bearer.authorization],
      ["alice", undefined],
    ]);
    expect(mesh.inbound.audit.ended).toMatchObject([{ decision: "allow", retries: 1 }]);
  });

  it("that waits for a provider is decided at once by a new policy", async () => {
    const provider = await startProvider();
    const app = await startApp((_request, response) => void response.end("served"));
    const mesh = await meshTo(app, provider.yaml(), ALLOW_WEB + CUSTOM);
    const call = await start(mesh.port, "/x", {});
    await eventually(() => expect(provider.seen).toHaveLength(1));
    mesh.inbound.setPolicies(ALLOW_WEB + DENY);
    expect(await call.text).toContain("E_POLICY_DENIED_BY_RULE");
    expect(mesh.inbound.audit.ended).toMatchObject([DENIED]);
  });

  it("that waits for an issuer's keys is decided at once by a policy that asks for none", async () => {
    const { mesh } = await withSilentKeys(true);
    const call = await start(mesh.port, "/x", bearer);
    await eventually(() => expect(mesh.inbound.sidecar.activeCalls).toBe(1));
    expect(mesh.inbound.audit.ended).toEqual([]);
    mesh.inbound.setPolicies(ALLOW_WEB + DENY);
    expect(await call.text).toContain("E_POLICY_DENIED_BY_RULE");
    expect(mesh.inbound.audit.ended).toMatchObject([DENIED]);
  });

  it("that is open and denied ends, although an issuer's keys are waited for", async () => {
    const { mesh, keys } = await withSilentKeys(false);
    const call = await start(mesh.port, "/x", bearer);
    await keys.opened;
    const began = performance.now();
    mesh.inbound.setPolicies(ALLOW_WEB + DENY + keys.policy);
    await call.text;
    expect(performance.now() - began).toBeLessThan(WITHIN_MS);
    expect(mesh.inbound.audit.ended).toMatchObject([{ ...DENIED, close: "policy-changed" }]);
  });

  /** Keys that never come. */
  async function withSilentKeys(fromTheBeginning: boolean) {
    const ca = createTestCa("idp.example.org");
    const folder = mkdtempSync(join(tmpdir(), "countersign-meanwhile-"));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, "ca.pem"), ca.bundlePem);
    const issuer = await serveDocuments(() => undefined, ca.issue({ dnsSans: ["localhost"] }));
    cleanups.push(() => issuer.close());
    let begun: () => void = () => undefined;
    const opened = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const app = await startApp((_request, response) => {
      response.write("begun");
      begun();
    });
    const keysPolicy = authentication(", timeout: 60s", `jwksUri: "https://localhost:${issuer.port}/jwks"`);
    const more = `requestAuthentication: { addresses: ["127.0.0.0/8", "::1"], ca: "${join(folder, "ca.pem")}" }`;
    const mesh = await meshTo(app, more, fromTheBeginning ? ALLOW_WEB + keysPolicy : ALLOW_WEB);
    return { mesh, keys: { policy: keysPolicy, opened } };
  }
});

it.each([
  [
    "denies a proven one",
    "denied",
    `${ALLOW_WEB}${policy("deny", 'action: DENY, rules: [{ from: [{ source: { requestPrincipals: ["*"] } }] }]')}`,
    DENIED,
  ],
  [
    "needs a proven one",
    "allowed",
    policy(
      "web",
      'rules: [{ from: [{ source: { requestPrincipals: ["*"] } }], when: [{ key: "request.headers[x-level]", values: ["1"] }] }]',
    ),
    { decision: "deny", reason: "E_POLICY_DENIED_BY_DEFAULT" },
  ],
] as const)(
  "an open call that a provider changed is known by its new end user while one is asked under a policy that %s",
  async (_, withToken, rules, denial) => {
    const provider = await startProvider({ status: { code: 0 }, okResponse: { headers: [header("x-level", "1")] } });
    const responses: ServerResponse[] = [];
    const app = await startApp((_request, response) => {
      responses.push(response);
      response.write("begun");
    });
    cleanups.push(() => app.close());
    const mesh = await startMesh({ appPort: app.port, policies: ALLOW_WEB + CUSTOM, inboundSide: provider.yaml() });
    cleanups.push(() => mesh.close());
    const open = async (lines: string) => {
      const client = await rawClient(mesh.port);
      client.send(get("/x", `Connection: close\r\n${lines}`));
      await eventually(() => expect(provider.seen).toHaveLength(responses.length + 1));
      provider.answer();
      await client.until((text) => text.includes("begun"));
      return client;
    };
    const proven = await open(`Authorization: Bearer ${token(rsa)}\r\n`);
    const nobody = await open("");
    const [denied, allowed] = withToken === "denied" ? [proven, nobody] : [nobody, proven];
    const began = performance.now();
    mesh.inbound.setPolicies(rules + authentication("") + CUSTOM);
    await denied.closed();
    expect(performance.now() - began).toBeLessThan(WITHIN_MS);
    expect(mesh.inbound.audit.ended).toMatchObject([{ ...denial, close: "policy-changed" }]);
    provider.allow();
    for (const response of responses) response.end("done");
    expect(await allowed.closed()).toContain("done");
    expect(mesh.inbound.audit.ended).toMatchObject([denial, { decision: "allow" }]);
  },
);

it("a call whose body a provider waits for is decided at once by a new policy", async () => {
  const provider = await startProvider();
  const app = await startApp((_, response) => void response.end("served"));
  cleanups.push(() => app.close());
  const mesh = await startMesh({
    appPort: app.port,
    policies: ALLOW_WEB + CUSTOM,
    inboundSide: provider.yaml(", includeRequestBodyInCheck: { maxRequestBytes: 1000 }"),
  });
  cleanups.push(() => mesh.close());
  const client = await rawClient(mesh.port);
  cleanups.push(() => client.socket.destroy());
  client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
  await eventually(() => expect(mesh.inbound.sidecar.activeCalls).toBe(1));
  mesh.inbound.setPolicies(ALLOW_WEB + DENY);
  await client.until((text) => text.includes("E_POLICY_DENIED_BY_RULE"));
  expect(provider.seen).toEqual([]);
});

it("trailers that came before a new policy lose what that one keeps for verified tokens", async () => {
  const provider = await startProvider();
  const app = await startApp((request, response) => void request.resume().on("end", () => response.end("served")));
  cleanups.push(() => app.close());
  const mesh = await startMesh({ appPort: app.port, policies: ALLOW_WEB + CUSTOM, inboundSide: provider.yaml() });
  cleanups.push(() => mesh.close());
  const client = await rawClient(mesh.port);
  cleanups.push(() => client.socket.destroy());
  const head = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  client.send(`${head}0\r\nX-User: evil\r\nX-Other: 1\r\n\r\n`);
  await eventually(() => expect(provider.seen).toHaveLength(1));
  mesh.inbound.setPolicies(ALLOW_WEB + authentication(", outputClaimToHeaders: [{ header: x-user, claim: sub }]"));
  provider.allow();
  await client.until((text) => text.includes("served"));
  expect(app.requests.map(({ trailers }) => trailers)).toEqual([{ "x-other": "1" }]);
});

it.each(["/%2e;x", "/a/%2E%2e;x"])(
  "an open call to %s goes on, normalised once as Istio does, under a policy that changes nothing for it",
  async (path) => {
    const responses: ServerResponse[] = [];
    const app = await startApp((_, response) => {
      responses.push(response);
      response.write("begun");
    });
    cleanups.push(() => app.close());
    const mesh = await startMesh({ appPort: app.port, inboundSide: "authorization: { mode: istio }" });
    cleanups.push(() => mesh.close());
    const client = await rawClient(mesh.port);
    client.send(get(path, "Connection: close\r\n"));
    await client.until((text) => text.includes("begun"));
    mesh.inbound.setPolicies(
      ALLOW_WEB + policy("other", 'rules: [{ to: [{ operation: { ports: ["1"] } }] }]', "security.istio.io/v1"),
    );
    expect(mesh.inbound.audit.ended).toEqual([]);
    responses[0]?.end("done");
    expect(await client.closed()).toContain("done");
    expect(mesh.inbound.audit.ended).toMatchObject([{ decision: "allow" }]);
  },
);

it("a TCP connection that waits for a provider is decided at once by a new policy", async () => {
  const provider = await startProvider();
  const app = await startTcpApp((socket) => socket.pipe(socket));
  cleanups.push(() => app.close());
  const mesh = await startMesh({
    appPort: app.port,
    protocol: "tcp",
    policies: ALLOW_WEB + CUSTOM,
    inboundSide: provider.yaml(),
  });
  cleanups.push(() => mesh.close());
  const client = await rawClient(mesh.port);
  client.send("a");
  await eventually(() => expect(provider.seen).toHaveLength(1));
  mesh.inbound.setPolicies(ALLOW_WEB + DENY);
  await client.closed();
  expect(mesh.inbound.audit.ended).toMatchObject([DENIED]);
  expect(app.sockets).toEqual([]);
});

describe("a provider that becomes needed as time passes is asked about an open call, and ends it,", () => {
  /** Conditions that hold from soon on. */
  const soon = (): string => `time > timestamp('${new Date(Date.now() + 700).toISOString()}')`;
  const asking = (name: string, when: string, direction = "INBOUND"): string =>
    policy(`ask-${name}`, `direction: ${direction}, action: CUSTOM, provider: { name: ${name} }, rules: [{ ${when} }]`);
  const listed = (...providers: readonly (readonly [name: string, port: number])[]): string =>
    `extensionProviders: [${providers
      .map(([name, port]) => `{ name: ${name}, envoyExtAuthzGrpc: { service: 127.0.0.1, port: ${port} } }`)
      .join(", ")}]`;
  const startAnswering = async (reply: CheckReply) => {
    const server = await startExtAuthzServer(() => reply);
    cleanups.push(() => server.close());
    return server;
  };
  const BY_B = { reason: "E_EXT_AUTHZ_DENIED", rule: "ns[shop]-policy[ask-b]-rule[0]", close: "policy-changed" };

  it("though a rule named it at first, before another one changed the call", async () => {
    const a = await startAnswering({ status: { code: 0 }, okResponse: { headers: [header("x-level", "1")] } });
    const b = await startAnswering({ status: { code: 7 } });
    const app = await startApp((_, response) => void response.write("begun"));
    cleanups.push(() => app.close());
    const later = `conditions: ${JSON.stringify(`!("x-level" in request.headers) || ${soon()}`)}`;
    const mesh = await startMesh({
      appPort: app.port,
      policies: ALLOW_WEB + asking("a", "") + asking("b", later),
      inboundSide: listed(["a", a.port], ["b", b.port]),
    });
    cleanups.push(() => mesh.close());
    const client = await rawClient(mesh.port);
    client.send(get("/x"));
    await client.until((text) => text.includes("begun"));
    expect([a.seen.length, b.seen.length]).toEqual([1, 0]);
    await client.closed();
    expect(b.seen).toHaveLength(1);
    expect(mesh.inbound.audit.ended).toMatchObject([BY_B]);
  });

  it.each(["api.test", "127.0.0.1"])("by the address of %s", async (host) => {
    const b = await startAnswering({ status: { code: 7 } });
    const app = await startApp((_, response) => void response.write("begun"));
    cleanups.push(() => app.close());
    const there = 'when: [{ key: destination.ip, values: ["127.0.0.0/8"] }]';
    const egress = await startEgress({
      ca: createTestCa(TRUST_DOMAIN),
      forward: `addresses: [127.0.0.0/8], ports: [${app.port}]`,
      policies:
        policy("allow", "direction: OUTBOUND, action: ALLOW, rules: [{}]") +
        asking("b", `${there}, conditions: ${JSON.stringify(soon())}`, "OUTBOUND"),
      names: { "api.test": ["127.0.0.1"] },
      more: listed(["b", b.port]),
    });
    cleanups.push(() => egress.close());
    const client = await rawClient(egress.port);
    client.send(`GET http://${host}:${app.port}/x HTTP/1.1\r\nHost: ${host}:${app.port}\r\n\r\n`);
    await client.until((text) => text.includes("begun"));
    expect(b.seen).toEqual([]);
    await client.closed();
    expect(b.seen).toHaveLength(1);
    expect(egress.sidecar.audit.ended).toMatchObject([BY_B]);
  });
});

/** What is open, with the side whose policies are to change. */
interface Open {
  readonly audit: MemoryAudit;
  /** By policies beside those that let it in. */
  readonly set: (more: string) => void;
  /** YAML of the side's documents: asks the provider, denies. */
  readonly asks: string;
  readonly denies: string;
  readonly closed: Promise<unknown>;
}

const begun = async (app: TestApp, provider: Provider): Promise<Mesh> => {
  cleanups.push(() => app.close());
  const mesh = await startMesh({ appPort: app.port, inboundSide: provider.yaml() });
  cleanups.push(() => mesh.close());
  return mesh;
};

const overMesh = ({ inbound }: Mesh, closed: Promise<unknown>): Open => ({
  audit: inbound.audit,
  set: (more) => inbound.setPolicies(ALLOW_WEB + more),
  asks: CUSTOM,
  denies: DENY,
  closed,
});

const opened: Readonly<Record<string, (provider: Provider) => Promise<Open>>> = {
  "an HTTP/1.1 call": async (provider) => {
    const mesh = await begun(await startApp((_, response) => void response.write("begun")), provider);
    const client = await rawClient(mesh.port);
    client.send(get("/x"));
    await client.until((text) => text.includes("begun"));
    return overMesh(mesh, client.closed());
  },
  "an HTTP/2 call": async (provider) => {
    const mesh = await begun(await startApp((_, response) => void response.write("begun")), provider);
    const session = connectHttp2(`http://127.0.0.1:${mesh.port}`);
    session.on("error", () => undefined);
    cleanups.push(() => session.destroy());
    const stream = session.request({ ":path": "/x" });
    stream.on("error", () => undefined);
    await once(stream, "data");
    stream.resume();
    return overMesh(mesh, closedOf(stream));
  },
  "a TCP connection": async (provider) => {
    const app = await startTcpApp((socket) => socket.pipe(socket));
    cleanups.push(() => app.close());
    const mesh = await startMesh({ appPort: app.port, protocol: "tcp", inboundSide: provider.yaml() });
    cleanups.push(() => mesh.close());
    const client = await rawClient(mesh.port);
    client.send("a");
    await client.until((text) => text === "a");
    return overMesh(mesh, client.closed());
  },
  "a CONNECT tunnel": async (provider) => {
    const ca: TestCa = createTestCa(TRUST_DOMAIN);
    const server = await startTlsApp(ca);
    cleanups.push(() => server.close());
    const allow = allowOutbound('hosts: ["*.test"]');
    const egress = await startEgress({
      ca,
      forward: `addresses: [127.0.0.0/8], ports: [${server.port}]`,
      policies: allow,
      names: { "api.test": ["127.0.0.1"] },
      more: provider.yaml(),
    });
    cleanups.push(() => egress.close());
    const tls = await tlsInside(await connectTo(egress, `api.test:${server.port}`), "api.test");
    tls.on("error", () => undefined);
    await echoed(tls, "hello");
    return {
      audit: egress.sidecar.audit,
      set: (more) => egress.sidecar.setPolicies(allow + more),
      asks: customOut(),
      denies: policy("deny", "direction: OUTBOUND, action: DENY, rules: [{}]"),
      closed: closedOf(tls),
    };
  },
};

describe.each(Object.entries(opened))("%s that is open, while a provider is asked about it", (_, open) => {
  it("ends within a second of a policy that denies it, whose record names that", async () => {
    const one = await open(await startProvider());
    const began = performance.now();
    one.set(one.asks + one.denies);
    await one.closed;
    expect(performance.now() - began).toBeLessThan(WITHIN_MS);
    expect(one.audit.ended).toMatchObject([DENIED]);
  });

  it("ends by a policy that comes while the one before waits for its answer", async () => {
    const provider = await startProvider();
    const one = await open(provider);
    one.set(one.asks);
    await eventually(() => expect(provider.seen).toHaveLength(1));
    const began = performance.now();
    one.set(one.denies);
    await one.closed;
    expect(performance.now() - began).toBeLessThan(WITHIN_MS);
    expect(one.audit.ended).toMatchObject([DENIED]);
  });

  it("ends when its time is over", async () => {
    const provider = await startProvider();
    const one = await open(provider);
    const endMs = Date.now() + 700;
    const late = `conditions: "time >= timestamp('${new Date(endMs).toISOString()}')"`;
    one.set(one.asks + one.denies.replace("rules: [{}]", `rules: [{ ${late} }]`));
    await eventually(() => expect(provider.seen).toHaveLength(1));
    await one.closed;
    expect(Date.now()).toBeGreaterThanOrEqual(endMs);
    expect(Date.now() - endMs).toBeLessThan(WITHIN_MS);
    expect(one.audit.ended).toMatchObject([DENIED]);
  });

  it("stays when the provider allows it", async () => {
    const provider = await startProvider();
    const one = await open(provider);
    provider.allow();
    one.set(one.asks);
    await eventually(() => expect(provider.seen).toHaveLength(1));
    expect(one.audit.ended).toEqual([]);
  });
});
