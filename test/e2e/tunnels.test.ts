import { connect as connectHttp2 } from "node:http2";
import { describe, expect, it } from "vitest";
import { startTcpApp } from "../support/app.ts";
import { atEnd } from "../support/at-end.ts";
import { createTestCa, type TestCa } from "../support/cert-factory.ts";
import { FRAME, headers, requestFields } from "../support/http2-frames.ts";
import { http2RawClient } from "../support/http2-raw-client.ts";
import { ALLOW_WEB, ORDERS, startTestSidecar, type TestSidecar, TRUST_DOMAIN, WEB } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";

/** An app that says who it is and then what it hears. */
async function app(name: string): Promise<number> {
  const { port, close } = await startTcpApp((socket) => {
    socket.write(`${name}>`);
    socket.on("data", (chunk: Buffer) => socket.write(chunk));
    socket.on("end", () => socket.end());
  });
  atEnd(close);
  return port;
}

interface Servers {
  readonly ca: TestCa;
  readonly inbound: TestSidecar;
}

/** One sidecar before two apps: `front`, with these keys, and `back`. */
async function servers(front: string, back = "", policies = ALLOW_WEB): Promise<Servers> {
  const ca = createTestCa(TRUST_DOMAIN);
  const inbound = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: ORDERS }),
    policies,
    config: `inbound:
  - { name: front, listen: "127.0.0.1:0", app: "127.0.0.1:${await app("front")}", protocol: tcp${front} }
  - { name: back, listen: "127.0.0.1:0", app: "127.0.0.1:${await app("back")}", protocol: tcp${back} }
`,
  });
  atEnd(() => inbound.sidecar.drain(0));
  return { ca, inbound };
}

/** The app's side: connections to `front`, for the inbound that `more` names. */
async function caller({ ca, inbound }: Servers, more = ""): Promise<TestSidecar> {
  const outbound = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: WEB }),
    config: `outbound:
  - { name: out, listen: "127.0.0.1:0", to: ["127.0.0.1:${inbound.port("front")}"], identity: "${ORDERS}", protocol: tcp${more} }
`,
  });
  atEnd(() => outbound.sidecar.drain(0));
  return outbound;
}

/** Connections of `front` that are sockets: the others are streams of one. */
const callsOf = (inbound: TestSidecar): unknown[] => inbound.audit.notes.map(({ phase }) => phase);

describe("TCP connections between two sidecars", () => {
  it("share one mTLS connection, each with a record of its own", async () => {
    const made = await servers("");
    const outbound = await caller(made);
    const clients = await Promise.all(Array.from({ length: 20 }, () => rawClient(outbound.port("out"))));
    for (const [at, client] of clients.entries()) client.send(`hello ${at}`);
    for (const [at, client] of clients.entries()) await client.until((text) => text === `front>hello ${at}`);
    expect(outbound.sidecar.listeners.find(({ name }) => name === "out")?.upstreamConnections).toBe(1);
    // twenty tunnels and the connection that carries them
    expect(made.inbound.sidecar.listeners.find(({ name }) => name === "front")?.connections).toBe(21);
    expect(callsOf(made.inbound)).toHaveLength(20);
    for (const client of clients) client.socket.end();
    for (const client of clients) await client.closed();
    const ended = await Promise.all(clients.map(() => made.inbound.audit.next(() => true)));
    expect(ended.every((record) => record.kind === "connection" && record.decision === "allow")).toBe(true);
    expect(ended[0]).toMatchObject({ protocol: "tcp", connection: { listener: "front", source: { spiffeId: WEB } } });
  });

  it("carry megabytes unharmed and half-closes in order", async () => {
    const outbound = await caller(await servers(""));
    const client = await rawClient(outbound.port("out"));
    const megabyte = "0123456789abcdef".repeat(65_536);
    for (let i = 0; i < 8; i++) client.send(megabyte);
    client.socket.end();
    const all = await client.closed();
    expect(all.length).toBe(6 + 8 * megabyte.length);
    expect(all.slice(6) === megabyte.repeat(8)).toBe(true);
  });

  it("reach another inbound that the called one lists", async () => {
    const made = await servers(", tunnels: [back]");
    const outbound = await caller(made, ", tunnel: back");
    const client = await rawClient(outbound.port("out"));
    await client.until((text) => text === "back>");
    client.socket.end();
    await client.closed();
    expect(await made.inbound.audit.next(() => true)).toMatchObject({ connection: { listener: "back" } });
  });

  it("reach no other one", async () => {
    const made = await servers("");
    const outbound = await caller(made, ", tunnel: back");
    const client = await rawClient(outbound.port("out"));
    expect(await client.closed()).toBe("");
    expect(await made.inbound.audit.next(() => true)).toMatchObject({ kind: "refusal", reason: "E_TUNNEL_REFUSED" });
  });

  it("reach none that takes plaintext alone", async () => {
    const made = await servers(", tunnels: [back]", ", mtls: disable");
    const outbound = await caller(made, ", tunnel: back");
    const client = await rawClient(outbound.port("out"));
    expect(await client.closed()).toBe("");
  });

  it("are decided each on its own, by the policy of the inbound that they name", async () => {
    const made = await servers(
      ", tunnels: [back]",
      "",
      `${ALLOW_WEB}---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: not-front, namespace: shop }
spec: { action: DENY, rules: [{ to: [{ operation: { notPorts: ["1"] } }] }] }
`,
    );
    const outbound = await caller(made, ", tunnel: back");
    const client = await rawClient(outbound.port("out"));
    expect(await client.closed()).toBe("");
    expect(await made.inbound.audit.next(() => true)).toMatchObject({
      decision: "deny",
      reason: "E_POLICY_DENIED_BY_RULE",
      connection: { listener: "back" },
    });
    made.inbound.setPolicies(ALLOW_WEB);
    const again = await rawClient(outbound.port("out"));
    await again.until((text) => text === "back>");
  });

  it("that are denied take no place of the listener", async () => {
    const made = await servers("", "", ALLOW_WEB.replace("sa/web", "sa/other"));
    const outbound = await caller(made);
    for (let at = 0; at < 5; at++) expect(await (await rawClient(outbound.port("out"))).closed()).toBe("");
    expect(made.inbound.audit.ended).toHaveLength(5);
    // the connection that carried them is all that is left
    expect(made.inbound.sidecar.listeners.find(({ name }) => name === "front")?.connections).toBe(1);
  });

  it("lead to none through another one, which lists more", async () => {
    const ca = createTestCa(TRUST_DOMAIN);
    const inbound = await startTestSidecar({
      ca,
      svid: ca.issue({ spiffeId: ORDERS }),
      policies: ALLOW_WEB,
      config: `inbound:
  - { name: front, listen: "127.0.0.1:0", app: "127.0.0.1:${await app("front")}", protocol: tcp, tunnels: [middle] }
  - { name: middle, listen: "127.0.0.1:0", app: "127.0.0.1:${await app("middle")}", protocol: http, tunnels: [back] }
  - { name: back, listen: "127.0.0.1:0", app: "127.0.0.1:${await app("back")}", protocol: tcp }
`,
    });
    atEnd(() => inbound.sidecar.drain(0));
    // an app's HTTP/2 connection in a tunnel to `middle`
    const outbound = await caller({ ca, inbound }, ", tunnel: middle");
    const client = await http2RawClient(outbound.port("out"));
    atEnd(() => Promise.resolve(client.destroy()));
    await client.next(({ type, flags }) => type === FRAME.SETTINGS && flags === 0);
    client.send(headers(1, requestFields("/back", [], "CONNECT").toSpliced(1, 0, [":protocol", "countersign-tcp"])));
    expect(await inbound.audit.next(() => true)).toMatchObject({
      reason: "E_TUNNEL_REFUSED",
      status: 405,
      connection: { listener: "middle" },
    });
  });

  it("are refused to a caller that has not agreed on them by ALPN", async () => {
    const ca = createTestCa(TRUST_DOMAIN);
    const plain = await startTestSidecar({
      ca,
      svid: ca.issue({ spiffeId: ORDERS }),
      policies: ALLOW_WEB,
      config: `inbound:
  - { name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${await app("in")}", protocol: http }
`,
    });
    atEnd(() => plain.sidecar.drain(0));
    const client = await http2RawClient(plain.port("in"), { identity: ca.issue({ spiffeId: WEB }) });
    atEnd(() => Promise.resolve(client.destroy()));
    client.send(headers(1, requestFields("/", [], "CONNECT").toSpliced(1, 0, [":protocol", "countersign-tcp"])));
    expect(await plain.audit.next(() => true)).toMatchObject({ reason: "E_TUNNEL_REFUSED", status: 405 });
  });

  it("end when a new policy no longer allows them, and leave the others alone", async () => {
    const made = await servers("");
    const outbound = await caller(made);
    const client = await rawClient(outbound.port("out"));
    await client.until((text) => text === "front>");
    made.inbound.setPolicies(ALLOW_WEB.replace("sa/web", "sa/other"));
    await client.closed();
    expect(await made.inbound.audit.next(() => true)).toMatchObject({ reason: "E_POLICY_DENIED_BY_DEFAULT" });
  });

  it("are no way for an app to a tunnel of its own choosing", async () => {
    const made = await servers(", tunnels: [back]");
    const outbound = await startTestSidecar({
      ca: made.ca,
      svid: made.ca.issue({ spiffeId: WEB }),
      config: `outbound:
  - { name: out, listen: "127.0.0.1:0", to: ["127.0.0.1:${made.inbound.port("front")}"], identity: "${ORDERS}", protocol: http }
`,
    });
    atEnd(() => outbound.sidecar.drain(0));
    const session = connectHttp2(`http://127.0.0.1:${outbound.port("out")}`);
    atEnd(() => new Promise<void>((resolve) => session.close(resolve)));
    const stream = session.request({
      ":method": "CONNECT",
      ":protocol": "countersign-tcp",
      ":scheme": "http",
      ":authority": "a",
      ":path": "/back",
    });
    const status = await new Promise((resolve) => {
      stream.on("response", (fields) => resolve(fields[":status"]));
      stream.on("error", () => resolve("reset"));
    });
    expect(status).toBe(405);
    stream.destroy();
  });
});
