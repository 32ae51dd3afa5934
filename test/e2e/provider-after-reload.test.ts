import { connect, type Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { startApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { atEnd } from "../support/at-end.ts";
import { eventually } from "../support/eventually.ts";
import { type CheckReply, type ExtAuthzServer, startExtAuthzServer } from "../support/ext-authz-server.ts";
import { type Mesh, startMesh } from "../support/mesh.ts";

const allow = (name: string): string => `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec: { rules: [{}] }
`;
const CUSTOM = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: custom, namespace: shop }
spec: { action: CUSTOM, provider: { name: p }, rules: [{}] }
`;
/** More than the checks of new calls that may be under way. */
const COUNT = 1100;

interface Herd extends Mesh {
  readonly provider: ExtAuthzServer;
  /** Calls that have ended. */
  readonly closed: () => number;
}

/** Calls whose responses have begun and do not end, before anybody asks a provider about them. */
async function openCalls(answer: () => CheckReply | undefined, timeout: string): Promise<Herd> {
  const provider = await startExtAuthzServer(answer);
  atEnd(() => provider.close());
  const app = await startApp((request, response) => {
    if (request.url === "/new") response.end("new");
    else response.write("begun");
  });
  atEnd(() => app.close());
  const mesh = await startMesh({
    appPort: app.port,
    policies: allow("a"),
    inbound: "mtls: permissive",
    inboundSide: `extensionProviders: [{ name: p, envoyExtAuthzGrpc: { service: 127.0.0.1, port: ${provider.port}, timeout: ${timeout} } }]`,
  });
  atEnd(() => mesh.close());
  let closed = 0;
  const sockets: Socket[] = [];
  atEnd(async () => {
    for (const socket of sockets) socket.destroy();
  });
  for (let begun = 0; begun < COUNT; begun += 100) {
    const some = Array.from({ length: 100 }, () => {
      const socket = connect(mesh.meshPort, "127.0.0.1");
      sockets.push(socket);
      socket.on("error", () => undefined).on("close", () => closed++);
      socket.write("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
      return new Promise((resolve) => socket.once("data", resolve));
    });
    // oxlint-disable-next-line no-await-in-loop -- a backlog's worth at a time
    await Promise.all(some);
  }
  return { ...mesh, provider, closed: () => closed };
}

describe("when a new policy has a provider asked about more open calls than it may be asked about at once", () => {
  it("those that it allows go on, all of them, and new calls too", async () => {
    const herd = await openCalls(() => ({ status: { code: 0 } }), "5s");
    herd.inbound.setPolicies(allow("a") + CUSTOM);
    expect((await ask(herd.meshPort, "/new")).status).toBe(200);
    await eventually(() => expect(herd.provider.seen.length).toBe(COUNT + 1));
    herd.inbound.setPolicies(allow("a") + allow("b") + CUSTOM);
    await eventually(() => expect(herd.provider.seen.length).toBe(2 * COUNT + 1));
    expect((await ask(herd.meshPort, "/new")).status).toBe(200);
    expect([herd.closed(), herd.inbound.audit.ended.length]).toEqual([0, 2]);
  });

  it("those that it denies end, all of them", async () => {
    const herd = await openCalls(() => ({ status: { code: 7 } }), "5s");
    herd.inbound.setPolicies(allow("a") + CUSTOM);
    await eventually(() => expect(herd.closed()).toBe(COUNT));
    const reasons = herd.inbound.audit.ended.map(({ reason, close }) => `${reason} ${close}`);
    expect(new Set(reasons)).toEqual(new Set(["E_EXT_AUTHZ_DENIED policy-changed"]));
  });

  it("those that it does not answer in time end, whether it was asked or not", async () => {
    const herd = await openCalls(() => undefined, "1s");
    herd.inbound.setPolicies(allow("a") + CUSTOM);
    await eventually(() => expect(herd.closed()).toBe(COUNT));
    const reasons = herd.inbound.audit.ended.map(({ reason, close }) => `${reason} ${close}`);
    expect(new Set(reasons)).toEqual(new Set(["E_EXT_AUTHZ_TIMEOUT policy-changed"]));
    expect(herd.provider.seen.length).toBeLessThan(COUNT / 2);
  });
});
