import { connect as connectTls } from "node:tls";
import { describe, expect, it } from "vitest";
import { CountersignErrors } from "../../src/core/errors.ts";
import { startApp, startTcpApp, type TestApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { atEnd } from "../support/at-end.ts";
import { type Mesh, type MeshOptions, startMesh } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";

/** Everybody may call, with an identity or without. */
const ANYBODY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: anybody, namespace: shop }
spec: { rules: [{}] }
`;
const peer = (spec: string, namespace = "shop", name = "mtls"): string => `---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: ${name}, namespace: ${namespace} }
spec: { ${spec} }
`;
const OURS = "selector: { matchLabels: { app: orders } }";
const ISTIO = "authorization: { mode: istio }";

async function mesh(
  policies: string,
  options: Omit<MeshOptions, "appPort" | "policies"> = {},
  handler: Parameters<typeof startApp>[0] = (_, response) => response.end("served"),
): Promise<Mesh & { readonly app: TestApp }> {
  const app = await startApp(handler);
  atEnd(() => app.close());
  const made = await startMesh({ ...options, policies, appPort: app.port });
  atEnd(() => made.close());
  return { ...made, app };
}

/** Status of a call through the mesh, and of one in plaintext straight to the inbound listener; "closed" for none. */
async function statuses(m: Mesh): Promise<readonly (number | "closed")[]> {
  const status = (port: number): Promise<number | "closed"> =>
    ask(port, "/x").then(
      (answer) => answer.status,
      () => "closed" as const,
    );
  return [await status(m.port), await status(m.meshPort)];
}

describe("a PeerAuthentication", () => {
  it.each([
    ["STRICT tightens a permissive listener", "permissive", peer("mtls: { mode: STRICT }"), [200, 403]],
    ["UNSET leaves it", "permissive", peer("mtls: { mode: UNSET }"), [200, 200]],
    [
      "for another workload leaves it",
      "permissive",
      peer("selector: { matchLabels: { app: x } }, mtls: { mode: STRICT }"),
      [200, 200],
    ],
    ["of another namespace leaves it", "permissive", peer("mtls: { mode: STRICT }", "other"), [200, 200]],
    ["of the root namespace tightens it", "permissive", peer("mtls: { mode: STRICT }", "istio-system"), [200, 403]],
    [
      "of the workload outranks the namespace's",
      "permissive",
      peer("mtls: { mode: STRICT }") + peer(`${OURS}, mtls: { mode: PERMISSIVE }`, "shop", "own"),
      [200, 200],
    ],
    [
      "UNSET for the workload inherits the namespace's",
      "permissive",
      peer("mtls: { mode: STRICT }") + peer(`${OURS}, mtls: { mode: UNSET }`, "shop", "own"),
      [200, 403],
    ],
    ["no document leaves a listener strict", "strict", "", [200, 403]],
  ])("%s", async (_, mtls, documents, expected) => {
    const m = await mesh(ANYBODY + documents, { inbound: `mtls: ${mtls}` });
    expect(await statuses(m)).toEqual(expected);
  });

  it("by port tightens or spares that port alone", async () => {
    const app = await startApp((_, response) => response.end("served"));
    atEnd(() => app.close());
    const byPort = (mode: string): string =>
      ANYBODY +
      peer(
        `${OURS}, mtls: { mode: ${mode === "STRICT" ? "PERMISSIVE" : "STRICT"} }, portLevelMtls: { ${app.port}: { mode: ${mode} } }`,
      );
    const m = await startMesh({ appPort: app.port, policies: byPort("STRICT"), inbound: "mtls: permissive" });
    atEnd(() => m.close());
    expect(await statuses(m)).toEqual([200, 403]);
    m.inbound.setPolicies(byPort("PERMISSIVE"));
    expect(await statuses(m)).toEqual([200, 200]);
  });

  it("cannot loosen what a listener demands in strict mode", async () => {
    const m = await mesh(ANYBODY);
    expect(() => m.inbound.compile(ANYBODY + peer("mtls: { mode: PERMISSIVE }"))).toThrow(CountersignErrors);
    expect(() => m.inbound.compile(ANYBODY + peer("mtls: { mode: DISABLE }"))).toThrow(/E_POLICY_MTLS/);
  });

  it("loosens it in istio mode", async () => {
    const permissive = await mesh(ANYBODY + peer("mtls: { mode: PERMISSIVE }"), { both: ISTIO });
    expect(await statuses(permissive)).toEqual([200, 200]);
    const disabled = await mesh(ANYBODY + peer("mtls: { mode: DISABLE }"), { both: ISTIO });
    expect((await statuses(disabled))[1]).toBe(200);
    expect((await statuses(disabled))[0]).not.toBe(200);
  });
});

it("PERMISSIVE refuses TLS without an SVID", async () => {
  const m = await mesh(ANYBODY, { inbound: "mtls: permissive" });
  const socket = connectTls({ port: m.meshPort, host: "127.0.0.1", rejectUnauthorized: false });
  atEnd(() => socket.destroy());
  socket.on("error", () => undefined);
  socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  let received = "";
  socket.on("data", (chunk: Buffer) => {
    received += chunk.toString("latin1");
  });
  await new Promise((resolve) => socket.once("close", resolve));
  expect([received, m.app.requests]).toEqual(["", []]);
  expect(await m.inbound.audit.next(({ kind }) => kind === "refusal")).toMatchObject({ decision: "deny" });
});

describe("a new document, for connections that are open", () => {
  it("STRICT ends those in plaintext, calls under way too, and leaves those by mutual TLS", async () => {
    const m = await mesh(ANYBODY, { inbound: "mtls: permissive" }, (request, response) => {
      if (request.url === "/open") response.writeHead(200).write("begun");
      else response.end("served");
    });
    const idle = await rawClient(m.meshPort);
    idle.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    await idle.until((text) => text.includes("served"));
    const busy = await rawClient(m.meshPort);
    busy.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n");
    await busy.until((text) => text.includes("begun"));
    const byTls = await rawClient(m.port);
    byTls.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n");
    await byTls.until((text) => text.includes("begun"));
    atEnd(() => byTls.socket.destroy());
    m.inbound.setPolicies(ANYBODY + peer("mtls: { mode: STRICT }"));
    await Promise.all([idle.closed(), busy.closed()]);
    const record = await m.inbound.audit.next(({ path }) => path === "/open");
    expect(record).toMatchObject({ reason: "E_PLAINTEXT_REFUSED", close: "E_PLAINTEXT_REFUSED" });
    expect(byTls.socket.readyState).toBe("open");
    expect(await statuses(m)).toEqual([200, 403]);
  });

  it("STRICT ends open TCP in plaintext", async () => {
    const app = await startTcpApp((socket) => socket.write("hello"));
    atEnd(() => app.close());
    const m = await startMesh({ appPort: app.port, protocol: "tcp", policies: ANYBODY, inbound: "mtls: permissive" });
    atEnd(() => m.close());
    const client = await rawClient(m.meshPort);
    client.send("x");
    await client.until((text) => text === "hello");
    m.inbound.setPolicies(ANYBODY + peer("mtls: { mode: STRICT }"));
    await client.closed();
    expect(await m.inbound.audit.next(() => true)).toMatchObject({ reason: "E_PLAINTEXT_REFUSED" });
  });

  it("DISABLE lets calls by mutual TLS end, and takes no new ones", async () => {
    let finish = (): void => undefined;
    const m = await mesh(ANYBODY, { both: ISTIO }, (_, response) => {
      response.writeHead(200).write("begun ");
      finish = () => void response.end("done");
    });
    const client = await rawClient(m.port);
    atEnd(() => client.socket.destroy());
    client.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.until((text) => text.includes("begun"));
    m.inbound.setPolicies(ANYBODY + peer("mtls: { mode: DISABLE }"));
    finish();
    expect(await client.until((text) => text.includes("done"))).toMatch(/^HTTP\/1\.1 200 /);
    expect((await ask(m.port, "/next")).status).toBe(502);
  });
});
