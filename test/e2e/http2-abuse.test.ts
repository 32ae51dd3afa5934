import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { STALL_LIMIT, StallGuard } from "../../src/proxy/http2/stall-guard.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { ATTACKS, LARGE_ANSWER_PATH, mount } from "../support/http2-attacks.ts";
import { FLAG, headers, requestFields, reset } from "../support/http2-frames.ts";
import { http2RawClient } from "../support/http2-raw-client.ts";
import { type Mesh, startMesh, WEB } from "../support/mesh.ts";
import { deadPort } from "../support/upstream-servers.ts";

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

describe("calls that a client makes many of at once", () => {
  it("and takes back at once cost the app nothing, and have a record each", async () => {
    const app = await startApp((_, response) => response.end("ok"));
    const mesh = await startMesh({ appPort: app.port });
    const client = await http2RawClient(mesh.meshPort, { identity: mesh.ca.issue({ spiffeId: WEB }) });
    const ids = Array.from({ length: 50 }, (_, at) => 2 * at + 1);
    client.send(Buffer.concat(ids.flatMap((id) => [headers(id, requestFields("/")), reset(id, 8)])));
    client.send(headers(101, requestFields("/last")));
    await client.next(({ stream, flags }) => stream === 101 && (flags & FLAG.END_STREAM) !== 0);
    const { audit } = mesh.inbound;
    await audit.next((one) => one.path === "/last");
    expect(audit.ended.filter(({ reason }) => reason === "E_CALLER_GONE")).toHaveLength(50);
    expect(app.requests).toHaveLength(1);
    client.destroy();
    await mesh.close();
    await app.close();
  });

  it("all hear at once that the app cannot be reached", async () => {
    const mesh = await startMesh({ appPort: await deadPort() });
    const client = await http2RawClient(mesh.meshPort, { identity: mesh.ca.issue({ spiffeId: WEB }) });
    const ids = Array.from({ length: 100 }, (_, at) => 2 * at + 1);
    client.send(Buffer.concat(ids.map((id) => headers(id, requestFields("/")))));
    await Promise.all(
      ids.map((id) => client.next(({ stream, flags }) => stream === id && (flags & FLAG.END_STREAM) !== 0)),
    );
    const { audit } = mesh.inbound;
    expect(audit.ended.filter(({ reason }) => reason === "E_UPSTREAM_CONNECT")).toHaveLength(100);
    client.destroy();
    await mesh.close();
  });
});

it("a client that takes nothing of many answers for long is cut off, with the reason in the audit log", async () => {
  // a minute in a moment
  vi.spyOn(StallGuard.prototype, "passes").mockImplementation((stalled) => stalled >= STALL_LIMIT.streams);
  const large = Buffer.alloc(MIB);
  const app = await startApp((_, response) => response.end(large));
  const mesh = await startMesh({ appPort: app.port });
  const attacker = await http2RawClient(mesh.meshPort, {
    identity: mesh.ca.issue({ spiffeId: WEB }),
    settings: [[4, 0]],
  });
  for (let at = 0; at < 60; at++) attacker.send(headers(2 * at + 1, requestFields("/")));
  expect(await attacker.end()).toEqual({ code: 11, detail: "too many: streams that wait for window" });
  const record = await mesh.inbound.audit.next(({ kind }) => kind === "refusal");
  expect(record).toMatchObject({ reason: "E_HTTP2_FLOOD", detail: "too many: streams that wait for window" });
  vi.restoreAllMocks();
  await mesh.close();
  await app.close();
});
