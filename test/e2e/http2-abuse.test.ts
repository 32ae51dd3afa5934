import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startApp, type TestApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { ATTACKS, LARGE_ANSWER_PATH, mount } from "../support/http2-attacks.ts";
import { FLAG, FRAME, frame, headerBlock, headers, requestFields, reset } from "../support/http2-frames.ts";
import { http2RawClient } from "../support/http2-raw-client.ts";
import { ALLOW_WEB, type Mesh, startMesh, WEB } from "../support/mesh.ts";
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
  const large = Buffer.alloc(MIB);
  const app = await startApp((_, response) => response.end(large));
  const mesh = await startMesh({
    appPort: app.port,
    both: "limits: { http2: { stalledStreams: { streams: 20, for: 1s } } }",
  });
  const attacker = await http2RawClient(mesh.meshPort, {
    identity: mesh.ca.issue({ spiffeId: WEB }),
    settings: [[4, 0]],
  });
  for (let at = 0; at < 20; at++) attacker.send(headers(2 * at + 1, requestFields("/")));
  expect(await attacker.end()).toEqual({ code: 11, detail: "too many: streams that wait for window" });
  const record = await mesh.inbound.audit.next(({ kind }) => kind === "refusal");
  expect(record).toMatchObject({ reason: "E_HTTP2_FLOOD", detail: "too many: streams that wait for window" });
  await mesh.close();
  await app.close();
});

describe("limits.http2", () => {
  const ping = frame(FRAME.PING, 0, 0, Buffer.alloc(8));

  it("holds on the wire, and after a reload for new connections", async () => {
    const app = await startApp((_, response) => response.end("ok"));
    const mesh = await startMesh({
      appPort: app.port,
      both: "limits: { http2: { pings: { burst: 3, perSecond: 1 }, headerTable: 1KiB } }",
    });
    const { inbound } = mesh;
    const identity = mesh.ca.issue({ spiffeId: WEB });
    // both sidecars keep to the smaller table
    expect((await ask(mesh.port, "/")).status).toBe(200);
    const first = await http2RawClient(mesh.meshPort, { identity });
    const announced = await first.next(({ type, flags }) => type === FRAME.SETTINGS && (flags & FLAG.ACK) === 0);
    expect(settingsOf(announced.payload).get(1)).toBe(1024);
    for (let at = 0; at < 6; at++) first.send(ping);
    expect(await first.end()).toEqual({ code: 11, detail: "too many: pings" });
    expect(await inbound.audit.next(({ kind }) => kind === "refusal")).toMatchObject({
      reason: "E_HTTP2_FLOOD",
      detail: "too many: pings",
    });
    const { limits } = inbound.config;
    const http2 = { ...limits.http2, pings: { burst: 100, perSecond: 10 }, continuations: 1 };
    await inbound.sidecar.setConfig({ ...inbound.config, limits: { ...limits, http2 } }, inbound.compile(ALLOW_WEB));
    const second = await http2RawClient(mesh.meshPort, { identity });
    for (let at = 0; at < 6; at++) second.send(ping);
    second.send(frame(FRAME.HEADERS, 0, 1, headerBlock(requestFields("/"))));
    for (let at = 0; at < 2; at++) second.send(frame(FRAME.CONTINUATION, 0, 1, headerBlock([["a", "b"]])));
    expect(await second.end()).toEqual({ code: 11, detail: "too many: CONTINUATION frames" });
    await mesh.close();
    await app.close();
  });
});

function settingsOf(payload: Buffer): ReadonlyMap<number, number> {
  const found = new Map<number, number>();
  for (let at = 0; at < payload.length; at += 6) found.set(payload.readUInt16BE(at), payload.readUInt32BE(at + 2));
  return found;
}
