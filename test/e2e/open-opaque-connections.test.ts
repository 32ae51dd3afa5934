import { describe, expect, it, onTestFinished } from "vitest";
import { startTcpApp } from "../support/app.ts";
import { ALLOW_WEB, type Mesh, startMesh } from "../support/mesh.ts";
import { type RawClient, rawClient } from "../support/raw-client.ts";

// Connections that do not speak HTTP on an `auto` port, when a policy comes that reads HTTP: they end as new ones are refused.

/** The longest that a connection may outlive its permission. */
const WITHIN_MS = 1000;

const WEB_BY_PATH = ALLOW_WEB.replace("    - from:", "    - to: [{ operation: { paths: [/orders] } }]\n      from:");
const WEB_BY_PATH_ELSEWHERE = `${ALLOW_WEB}    - to: [{ operation: { paths: [/orders], ports: ["1"] } }]\n`;
const NO_DELETE = `apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: no-delete, namespace: shop }
spec: { direction: OUTBOUND, action: DENY, rules: [{ to: [{ operation: { methods: [DELETE] } }] }] }
`;

/** `speaksFirst`: the server does, and its caller says nothing. */
async function openTo(speaksFirst: boolean): Promise<{ readonly mesh: Mesh; readonly client: RawClient }> {
  const app = await startTcpApp((socket) => {
    if (speaksFirst) socket.write("hello");
    socket.on("data", (chunk: Buffer) => socket.write(chunk));
  });
  onTestFinished(() => app.close());
  const mesh = await startMesh({ appPort: app.port, protocol: "auto", both: "timeouts: { classify: 50ms }" });
  onTestFinished(() => mesh.close());
  const client = await rawClient(mesh.port);
  if (!speaksFirst) client.send("\x01hello");
  await client.until((text) => text.endsWith("hello"));
  return { mesh, client };
}

describe.each([
  ["that spoke", false, "E_CLASSIFY"],
  ["that were silent", true, "E_CLASSIFY_TIMEOUT"],
])("connections of callers %s", (_name, speaksFirst, code) => {
  it("end within a second where the callee's new policy reads HTTP", async () => {
    const { mesh, client } = await openTo(speaksFirst);
    const began = performance.now();
    mesh.inbound.setPolicies(WEB_BY_PATH);
    await client.closed();
    expect(performance.now() - began).toBeLessThan(WITHIN_MS);
    expect(mesh.inbound.audit.ended).toMatchObject([
      {
        kind: "connection",
        decision: "deny",
        reason: code,
        close: code,
        detail: "policies with HTTP fields apply, and the caller does not speak HTTP",
      },
    ]);
    expect(mesh.inbound.audit.open).toBe(0);
    // as a new one is refused
    const next = await rawClient(mesh.port);
    if (!speaksFirst) next.send("\x01hello");
    await next.closed();
    expect(mesh.inbound.audit.ended.at(-1)).toMatchObject({ kind: "refusal", reason: code });
  });

  it("end within a second where the caller's new policy reads HTTP", async () => {
    const { mesh, client } = await openTo(speaksFirst);
    const began = performance.now();
    mesh.outbound.setPolicies(NO_DELETE);
    await client.closed();
    expect(performance.now() - began).toBeLessThan(WITHIN_MS);
    expect(mesh.outbound.audit.ended).toMatchObject([{ decision: "deny", reason: "E_POLICY_DENIED_BY_RULE" }]);
  });

  it("go on where it reads HTTP at another port", async () => {
    const { mesh, client } = await openTo(speaksFirst);
    mesh.inbound.setPolicies(WEB_BY_PATH_ELSEWHERE);
    client.send("again");
    await client.until((text) => text.endsWith("again"));
  });
});

it("where the listener is said to speak TCP, connections go on whatever policies read", async () => {
  const app = await startTcpApp((socket) => socket.pipe(socket));
  onTestFinished(() => app.close());
  const istio = "authorization: { mode: istio }";
  const mesh = await startMesh({ appPort: app.port, protocol: "tcp", inboundSide: istio });
  onTestFinished(() => mesh.close());
  const client = await rawClient(mesh.port);
  client.send("one");
  await client.until((text) => text.endsWith("one"));
  const audited = WEB_BY_PATH.replace("action: ALLOW", "action: AUDIT").replace("name: web", "name: audited");
  mesh.inbound.setPolicies(`${ALLOW_WEB}---\n${audited}`);
  client.send("two");
  await client.until((text) => text.endsWith("two"));
});
