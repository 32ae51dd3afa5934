import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApp, startTcpApp, type TestApp } from "../support/app.ts";
import { createTestCa, type TestCa } from "../support/cert-factory.ts";
import { type Egress, startEgress } from "../support/egress.ts";
import { ALLOW_WEB, ORDERS, startTestSidecar, TRUST_DOMAIN } from "../support/mesh.ts";
import { connectTo, tlsInside } from "../support/tunnels.ts";

// Bytes in a tunnel into the mesh that are no HTTP: no caller is to choose by them which rules see it.

const CLASSIFY_MS = 100;
/** The longest that a tunnel may outlive its permission. */
const WITHIN_MS = 1000;
const HOST = "orders.test";

let ca: TestCa;
let app: TestApp;
let cleanups: (() => Promise<unknown>)[];
beforeEach(async () => {
  ca = createTestCa(TRUST_DOMAIN);
  app = await startApp((_, response) => response.end("served"));
  cleanups = [() => app.close()];
});
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

/** OUTBOUND policies, one of each `[action, rule]`, in YAML flow style. */
function policies(...rules: readonly (readonly [action: string, rule: string])[]): string {
  return rules
    .map(
      ([action, rule], i) => `apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: ${action.toLowerCase()}-${i}, namespace: shop }
spec: { direction: OUTBOUND, action: ${action}, rules: [${rule}] }
`,
    )
    .join("---\n");
}

const to = (operation: string): string => `{ to: [{ operation: { ${operation} } }] }`;

interface World {
  readonly egress: Egress;
  readonly target: string;
  readonly port: number;
}

/** An egress proxy with a mesh host behind it, whose sidecar speaks `protocol` and leads to `appPort`. */
async function world(outbound: (port: number) => string, protocol = "http", appPort = app.port): Promise<World> {
  const orders = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: ORDERS }),
    policies: ALLOW_WEB,
    config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${appPort}", protocol: ${protocol} }]`,
  });
  cleanups.push(() => orders.sidecar.drain(0));
  const port = orders.port("in");
  const target = `${HOST}:${port}`;
  const egress = await startEgress({
    ca,
    forward: `hosts: { "${target}": "${ORDERS}" }, addresses: [127.0.0.0/8], ports: []`,
    policies: outbound(port),
    names: { [HOST]: ["127.0.0.1"] },
    more: `timeouts: { classify: ${CLASSIFY_MS}ms }`,
  });
  cleanups.push(() => egress.close());
  return { egress, target, port };
}

async function echoWorld(outbound: (port: number) => string): Promise<World> {
  const echo = await startTcpApp((socket) => socket.pipe(socket));
  cleanups.push(() => echo.close());
  return world(outbound, "tcp", echo.port);
}

const ALLOW_ALL = ["ALLOW", "{}"] as const;

describe("where a rule about requests may apply to its destination", () => {
  const noDelete = (): string => policies(ALLOW_ALL, ["DENY", to("methods: [DELETE]")]);
  const sneaked = "DELETE /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

  it.each([
    ["come behind an empty line (RFC 9112 section 2.2)", `\r\n${sneaked}`],
    ["come behind a line feed", `\n${sneaked}`],
    ["name their method in lower case", sneaked.replace("DELETE", "delete")],
    ["are no HTTP at all", "\x01\x02\x03"],
  ])("a tunnel is refused whose bytes %s", async (_name, bytes) => {
    const { egress, target } = await world(noDelete);
    const client = await connectTo(egress, target);
    client.send(bytes);
    await client.closed();
    const record = await egress.sidecar.audit.next(() => true);
    expect(record).toMatchObject({
      kind: "connection",
      decision: "deny",
      reason: "E_EGRESS_OPAQUE",
      rule: "ns[shop]-policy[deny-1]-rule[0]",
      authority: target,
      bytesIn: 0,
    });
    expect(record.detail).toBe(
      `rule ns[shop]-policy[deny-1]-rule[0] looks at HTTP requests to ${target}, and the tunnel does not begin with one`,
    );
    expect(egress.sidecar.audit.open).toBe(0);
    expect(app.requests).toHaveLength(0);
  });

  it("a tunnel is refused whose caller waits until nobody looks any more", async () => {
    const { egress, target } = await world(noDelete);
    const client = await connectTo(egress, target);
    expect(await egress.sidecar.audit.next(() => true)).toMatchObject({ decision: "deny", reason: "E_EGRESS_OPAQUE" });
    client.send(sneaked);
    await client.closed();
    expect(app.requests).toHaveLength(0);
  });

  it("a tunnel is refused that carries the app's own TLS", async () => {
    const { egress, target } = await world(noDelete, "tcp");
    await expect(tlsInside(await connectTo(egress, target), HOST)).rejects.toThrow(/closed|reset|disconnected/i);
    expect(await egress.sidecar.audit.next(() => true)).toMatchObject({ decision: "deny", reason: "E_EGRESS_OPAQUE" });
  });

  it("HTTP in it is served, and refused, by its rules", async () => {
    const { egress, target } = await world(noDelete);
    const client = await connectTo(egress, target);
    client.send(`GET /x HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
    await client.until((text) => text.includes("served"));
    client.send(`DELETE /x HTTP/1.1\r\nHost: ${target}\r\nConnection: close\r\n\r\n`);
    expect(await client.closed()).toContain("x-countersign-code: E_POLICY_DENIED_BY_RULE");
  });
});

const refusing: Readonly<Record<string, (port: number) => string>> = {
  "a DENY of a path": () => policies(ALLOW_ALL, ["DENY", to("paths: [/admin/*]")]),
  "a DENY of a path at this host": () => policies(ALLOW_ALL, ["DENY", to(`hosts: [${HOST}], paths: [/admin/*]`)]),
  "a DENY of a path at this port": (port) => policies(ALLOW_ALL, ["DENY", to(`ports: ["${port}"], paths: [/admin/*]`)]),
  "a DENY of a path of this server": () =>
    policies(ALLOW_ALL, ["DENY", to("principals: [example.org/ns/shop/sa/orders], paths: [/admin/*]")]),
  "a DENY of a path at this address": () =>
    policies(ALLOW_ALL, [
      "DENY",
      "{ to: [{ operation: { paths: [/admin/*] } }], when: [{ key: destination.ip, values: [127.0.0.1] }] }",
    ]),
  "a DENY of all requests": () => policies(ALLOW_ALL, ["DENY", to("notMethods: [CONNECT]")]),
  "a DENY of a header": () =>
    policies(ALLOW_ALL, ["DENY", '{ when: [{ key: "request.headers[x-debug]", values: ["1"] }] }']),
  "a DENY by an expression": () => policies(ALLOW_ALL, ["DENY", "{ conditions: 'request.path == \"/admin\"' }"]),
  "an ALLOW of some methods": () => policies(["ALLOW", to(`hosts: [${HOST}], methods: [CONNECT, GET]`)]),
  "an ALLOW of all but some paths": () => policies(["ALLOW", to(`hosts: [${HOST}], notPaths: [/admin/*]`)]),
  "an ALLOW of the tunnel beside one of some requests": () =>
    policies(["ALLOW", `${to(`hosts: [${HOST}], methods: [CONNECT]`)}, ${to("methods: [GET]")}`]),
};

const bearing: Readonly<Record<string, (port: number) => string>> = {
  "hosts alone": () => policies(["ALLOW", to(`hosts: [${HOST}]`)]),
  "the tunnel": () => policies(["ALLOW", to(`hosts: [${HOST}], methods: [CONNECT]`)]),
  "any method": () => policies(["ALLOW", to('methods: ["*"]')]),
  "the tunnel and all requests": () =>
    policies(["ALLOW", `${to("methods: [CONNECT]")}, ${to(`hosts: [${HOST}], notMethods: [CONNECT]`)}`]),
  "all, beside an ALLOW of less": () => policies(ALLOW_ALL, ["ALLOW", to("methods: [GET]")]),
  "all, but for a path at another host": () => policies(ALLOW_ALL, ["DENY", to("hosts: [a.test], paths: [/admin/*]")]),
  "all, but for a path at another port": () => policies(ALLOW_ALL, ["DENY", to('ports: ["1"], paths: [/admin/*]')]),
  "all, but for a path of another server": () =>
    policies(ALLOW_ALL, ["DENY", to("principals: [example.org/ns/shop/sa/other], paths: [/admin/*]")]),
  "all, but for a path at other addresses": () =>
    policies(ALLOW_ALL, [
      "DENY",
      "{ to: [{ operation: { paths: [/admin/*] } }], when: [{ key: destination.ip, values: [10.0.0.0/8] }] }",
    ]),
  "all, and an AUDIT of a method": () => policies(ALLOW_ALL, ["AUDIT", to("methods: [DELETE]")]),
  "all, but for other hosts' tunnels": () => policies(ALLOW_ALL, ["DENY", to("hosts: [a.test], methods: [CONNECT]")]),
};

describe("other bytes", () => {
  it.each(Object.keys(refusing))("are refused where there is %s", async (name) => {
    const { egress, target } = await echoWorld((port) => refusing[name]?.(port) ?? "");
    const client = await connectTo(egress, target);
    expect(client.received).toMatch(/^HTTP\/1\.1 200 /);
    client.send("\x01\x02opaque");
    await client.closed();
    expect(egress.sidecar.audit.ended).toMatchObject([{ decision: "deny", reason: "E_EGRESS_OPAQUE" }]);
  });

  it.each(Object.keys(bearing))("go on where policies allow %s", async (name) => {
    const { egress, target } = await echoWorld((port) => bearing[name]?.(port) ?? "");
    const client = await connectTo(egress, target);
    client.send("\x01\x02opaque");
    await client.until((text) => text.endsWith("\x01\x02opaque"));
  });

  it("that flow already end within a second where a new policy looks at requests, and others go on", async () => {
    const { egress, target } = await echoWorld(() => policies(ALLOW_ALL));
    const client = await connectTo(egress, target);
    client.send("\x01one");
    await client.until((text) => text.endsWith("\x01one"));
    egress.sidecar.setPolicies(policies(ALLOW_ALL, ["DENY", to("hosts: [a.test], paths: [/admin/*]")]));
    client.send("\x01two");
    await client.until((text) => text.endsWith("\x01two"));
    const began = performance.now();
    egress.sidecar.setPolicies(policies(ALLOW_ALL, ["DENY", to(`hosts: [${HOST}], paths: [/admin/*]`)]));
    await client.closed();
    expect(performance.now() - began).toBeLessThan(WITHIN_MS);
    expect(egress.sidecar.audit.ended).toMatchObject([
      { decision: "deny", reason: "E_EGRESS_OPAQUE", close: "E_EGRESS_OPAQUE", destination: { spiffeId: ORDERS } },
    ]);
    expect(egress.sidecar.audit.open).toBe(0);
  });
});
