import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startApp, type TestApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { ATTACKS, LARGE_ANSWER_PATH, mount } from "../support/http2-attacks.ts";
import { http2RawClient } from "../support/http2-raw-client.ts";
import { type Mesh, startMesh, WEB } from "../support/mesh.ts";

const MIB = 1024 * 1024;

describe("a client that abuses HTTP/2", () => {
  const large = Buffer.alloc(MIB);
  let app: TestApp;
  let mesh: Mesh;

  beforeAll(async () => {
    app = await startApp((request, response) => {
      request.resume();
      response.end(request.url === LARGE_ANSWER_PATH ? large : "ok");
    });
    mesh = await startMesh({ appPort: app.port });
  });
  afterAll(async () => {
    await mesh.close();
    await app.close();
  });

  const fatal = ATTACKS.filter(({ isFatal }) => isFatal);
  it.each(fatal)("is cut off for $name, with the reason in the audit log; others are served", async (attack) => {
    const { audit } = mesh.inbound;
    const before = audit.ended.length;
    const identity = mesh.ca.issue({ spiffeId: WEB });
    const attacker = await http2RawClient(mesh.meshPort, { ...attack.options, identity });
    const mounted = mount(attacker, attack, 16 * MIB);
    const served = await Promise.all(Array.from({ length: 5 }, () => ask(mesh.port, "/other")));
    expect(served.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    await mounted;
    attacker.socket.resume();
    const goAway = await attacker.end();
    const record = await audit.next(
      (one) =>
        audit.ended.indexOf(one) >= before && one.kind === "refusal" && one.reason?.startsWith("E_HTTP2_") === true,
    );
    expect(record.detail).toBeTruthy();
    // a client that does not read may lose it with the connection
    if (goAway !== undefined) expect(goAway.code).not.toBe(0);
    expect((await ask(mesh.port, "/after")).status).toBe(200);
  });

  const bearable = ATTACKS.filter(({ isFatal }) => !isFatal);
  it.each(bearable)("does not keep others from being served by $name", async (attack) => {
    const identity = mesh.ca.issue({ spiffeId: WEB });
    const attacker = await http2RawClient(mesh.meshPort, { ...attack.options, identity });
    await mount(attacker, attack, 16 * MIB);
    const served = await Promise.all(Array.from({ length: 5 }, () => ask(mesh.port, "/other")));
    expect(served.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    attacker.destroy();
    expect((await ask(mesh.port, "/after")).status).toBe(200);
  });
});
