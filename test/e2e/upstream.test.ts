import {
  connect as connectHttp2,
  constants,
  createServer as createHttp2Server,
  type ServerHttp2Session,
} from "node:http2";
import { describe, expect, it } from "vitest";
import { CountersignError } from "../../src/core/errors.ts";
import { startApp, startTcpApp, type TestApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { atEnd } from "../support/at-end.ts";
import { createTestCa, type TestCa } from "../support/cert-factory.ts";
import {
  ALLOW_WEB,
  type Mesh,
  type MeshOptions,
  ORDERS,
  startMesh,
  startTestSidecar,
  type TestSidecar,
  TRUST_DOMAIN,
} from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";
import { deadPort, startSilent, startWeb, ttl, upstreamOf } from "../support/upstream-servers.ts";

interface Server {
  readonly port: number;
  readonly app: TestApp;
  readonly sidecar: TestSidecar;
}

/** An app that says `name`, behind orders' sidecar. */
async function server(ca: TestCa, name: string, host = "127.0.0.1", port = 0): Promise<Server> {
  const app = await startApp((_, response) => response.end(name));
  const sidecar = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: ORDERS }),
    policies: ALLOW_WEB,
    config: `inbound:
  - { name: in, listen: "${host.includes(":") ? `[${host}]` : host}:${port}", app: "127.0.0.1:${app.port}", protocol: http }`,
  });
  atEnd(async () => {
    await sidecar.sidecar.drain(0);
    await app.close();
  });
  return { port: sidecar.port("in"), app, sidecar };
}

async function web(...of: Parameters<typeof startWeb>): Promise<TestSidecar> {
  const made = await startWeb(...of);
  atEnd(() => made.sidecar.drain(0));
  return made;
}

async function bodies(one: TestSidecar, times: number): Promise<Record<string, number>> {
  const said: Record<string, number> = {};
  for (let at = 0; at < times; at++) {
    const { body } = await ask(one.port("out"), "/");
    said[body] = (said[body] ?? 0) + 1;
  }
  return said;
}

describe("several endpoints", () => {
  it("share the calls", async () => {
    const ca = createTestCa(TRUST_DOMAIN);
    const [a, b] = [await server(ca, "a"), await server(ca, "b")];
    const out = await web(ca, [`127.0.0.1:${a.port}`, `127.0.0.1:${b.port}`]);
    const said = await bodies(out, 60);
    expect(Object.keys(said).sort()).toEqual(["a", "b"]);
    const { endpoints } = upstreamOf(out, "out");
    expect(endpoints.map(({ state }) => state)).toEqual(["healthy", "healthy"]);
    expect(endpoints.every(({ latencyMs, active }) => latencyMs !== undefined && active === 0)).toBe(true);
  });

  it("lose none of the calls to one where nobody listens, which is ejected", async () => {
    const ca = createTestCa(TRUST_DOMAIN);
    const a = await server(ca, "a");
    const dead = await deadPort();
    const out = await web(ca, [`127.0.0.1:${dead}`, `127.0.0.1:${a.port}`]);
    expect(await bodies(out, 30)).toEqual({ a: 30 });
    expect(upstreamOf(out, "out").endpoints).toMatchObject([
      { address: `127.0.0.1:${dead}`, state: "ejected", failures: 5, ejections: 1 },
      { address: `127.0.0.1:${a.port}`, state: "healthy", failures: 0 },
    ]);
  });

  it("lose none of the calls when one goes away in the middle, drained", async () => {
    const ca = createTestCa(TRUST_DOMAIN);
    const [a, b] = [await server(ca, "a"), await server(ca, "b")];
    const out = await web(ca, [`127.0.0.1:${a.port}`, `127.0.0.1:${b.port}`]);
    await bodies(out, 10);
    let going = true;
    const callers = Array.from({ length: 8 }, async () => {
      const said: string[] = [];
      while (going) said.push((await ask(out.port("out"), "/")).body);
      return said;
    });
    await a.sidecar.sidecar.drain(5000);
    const after = await bodies(out, 10);
    going = false;
    const said = (await Promise.all(callers)).flat();
    expect(after).toEqual({ b: 10 });
    expect(said.filter((body) => body !== "a" && body !== "b")).toEqual([]);
  });

  it("of which one is silent cost a call no more than the wait for its neighbour", async () => {
    const ca = createTestCa(TRUST_DOMAIN);
    const a = await server(ca, "a");
    const silent = await startSilent();
    atEnd(() => silent.close());
    const out = await web(ca, [`127.0.0.1:${silent.port}`, `127.0.0.1:${a.port}`]);
    const begun = performance.now();
    expect(await bodies(out, 10)).toEqual({ a: 10 });
    expect(performance.now() - begun).toBeLessThan(3000);
    expect(silent.accepted).toBeGreaterThan(0);
  });

  it("carry TCP too, past one where nobody listens", async () => {
    const ca = createTestCa(TRUST_DOMAIN);
    const app = await startTcpApp((socket) => socket.pipe(socket));
    atEnd(() => app.close());
    const inbound = await startTestSidecar({
      ca,
      svid: ca.issue({ spiffeId: ORDERS }),
      policies: ALLOW_WEB,
      config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", protocol: tcp }]`,
    });
    atEnd(() => inbound.sidecar.drain(0));
    const out = await web(ca, [`127.0.0.1:${await deadPort()}`, `127.0.0.1:${inbound.port("in")}`], {
      protocol: "tcp",
    });
    for (let at = 0; at < 5; at++) {
      const client = await rawClient(out.port("out"));
      client.send("ping");
      await client.until((text) => text === "ping");
      client.socket.destroy();
    }
    expect(upstreamOf(out, "out").endpoints[1]).toMatchObject({ state: "healthy" });
  });
});

describe("a name", () => {
  it("of both IP versions is reached by the one that answers", async () => {
    const ca = createTestCa(TRUST_DOMAIN);
    const a = await server(ca, "a", "::1");
    const out = await web(ca, [`payments.shop:${a.port}`], {
      resolve: (_, done) => void setImmediate(() => done(["127.0.0.1", "::1"])),
      ttlOf: ttl(60_000),
    });
    expect(await bodies(out, 10)).toEqual({ a: 10 });
    expect(upstreamOf(out, "out").endpoints).toMatchObject([
      { address: `127.0.0.1:${a.port}`, name: "payments.shop" },
      { address: `[::1]:${a.port}`, name: "payments.shop", state: "healthy" },
    ]);
  });

  it("that stands for another address when its TTL has passed leads there, and keeps it while DNS fails", async () => {
    const ca = createTestCa(TRUST_DOMAIN);
    const a = await server(ca, "a", "127.0.0.1");
    await server(ca, "b", "127.0.0.2", a.port);
    let answer: readonly string[] | undefined = ["127.0.0.1"];
    let asked = (): void => undefined;
    const out = await web(ca, [`payments.shop:${a.port}`], {
      resolve: (name, done) =>
        void setImmediate(() => {
          done(answer ?? new CountersignError("E_EGRESS_RESOLVE", `${name} has no address: ENOTFOUND`));
          asked();
        }),
      ttlOf: ttl(0),
    });
    const next = (): Promise<void> =>
      new Promise((resolve) => {
        asked = resolve;
      });
    expect(await bodies(out, 3)).toEqual({ a: 3 });
    answer = ["127.0.0.2"];
    await next();
    expect(await bodies(out, 3)).toEqual({ b: 3 });
    answer = undefined;
    await next();
    expect(await bodies(out, 3)).toEqual({ b: 3 });
    expect(upstreamOf(out, "out").problems).toMatchObject([{ code: "E_UPSTREAM_RESOLVE" }]);
  });

  it("without any address is answered for with 503", async () => {
    const ca = createTestCa(TRUST_DOMAIN);
    const out = await web(ca, ["payments.shop:1"], {
      resolve: (name, done) =>
        void setImmediate(() => done(new CountersignError("E_EGRESS_RESOLVE", `${name} has no address: ENOTFOUND`))),
      ttlOf: ttl(0),
    });
    const { status, headers } = await ask(out.port("out"), "/");
    expect([status, headers["x-countersign-code"]]).toEqual([503, "E_UPSTREAM_RESOLVE"]);
  });
});

/** web → orders → an app that breaks off the first `broken` requests that it gets, and counts them all. */
async function breaking(
  broken: number,
  options: Partial<MeshOptions> = {},
): Promise<Mesh & { readonly seen: () => number }> {
  let seen = 0;
  const app = await startTcpApp((socket) =>
    socket.on("data", () => {
      seen++;
      if (seen <= broken) socket.destroy();
      else socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }),
  );
  atEnd(() => app.close());
  const made = await startMesh({ ...options, appPort: app.port });
  atEnd(() => made.close());
  return { ...made, seen: () => seen };
}

describe("a call that broke off before its response", () => {
  it.each([
    ["GET", undefined, 200, 2],
    ["DELETE", undefined, 200, 2],
    ["PUT", "content-length: 0", 200, 2],
    ["PUT", "content-length: 1", 502, 1],
    ["POST", "content-length: 0", 502, 1],
    ["PATCH", "content-length: 0", 502, 1],
  ])("by %s with %s ends with %i after %i attempts", async (method, field, status, attempts) => {
    const { port, seen, inbound } = await breaking(1);
    const client = await rawClient(port);
    const body = field === "content-length: 1" ? "x" : "";
    client.send(`${method} / HTTP/1.1\r\nHost: a\r\n${field === undefined ? "" : `${field}\r\n`}\r\n${body}`);
    await client.until((text) => /ok$|\)\n$/.test(text));
    expect(client.received).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(seen()).toBe(attempts);
    expect(await inbound.audit.next(() => true)).toMatchObject({ retries: attempts - 1 });
  });

  it("is sent again twice at most", async () => {
    const { meshPort, ca, seen } = await breaking(100);
    const out = await web(ca, [`127.0.0.1:${meshPort}`]);
    expect((await ask(out.port("out"), "/")).status).toBe(502);
    // the sidecar before the app tries three times; the one before it is told 502, which is an answer
    expect(seen()).toBe(3);
  });

  it("costs a struggling app a fifth more at most", async () => {
    const { port, seen } = await breaking(Number.POSITIVE_INFINITY);
    for (let at = 0; at < 100; at++) await ask(port, "/");
    // ten are there at the start, and one comes with each second
    expect(seen()).toBeLessThanOrEqual(100 + 20 + 10 + 10);
    expect(seen()).toBeGreaterThan(110);
  });
});

/** web → orders → an app that speaks HTTP/2, resets its first stream with the error code `first` and answers the others. */
async function http2App(first: number): Promise<Mesh & { readonly seen: () => number }> {
  let seen = 0;
  const server = createHttp2Server();
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => undefined);
  });
  server.on("stream", (stream) => {
    stream.on("error", () => undefined);
    seen++;
    if (seen === 1) stream.close(first);
    else stream.end("ok");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("no port");
  atEnd(async () => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  const made = await startMesh({ appPort: address.port, protocol: "http2" });
  atEnd(() => made.close());
  return { ...made, seen: () => seen };
}

describe("an upstream that speaks HTTP/2", () => {
  const post = (port: number): Promise<string> =>
    new Promise((resolve, reject) => {
      const session = connectHttp2(`http://127.0.0.1:${port}`);
      atEnd(async () => session.destroy());
      session.on("error", reject);
      const call = session.request({ ":method": "POST", ":path": "/", "content-length": "0" });
      let status: number | undefined;
      let body = "";
      call.on("response", (head) => {
        status = head[":status"];
      });
      call.on("data", (chunk: Buffer) => {
        body += chunk.toString();
      });
      call.on("end", () => resolve(`${status} ${body}`));
      call.on("error", reject);
      call.end();
    });

  it("and refuses a stream is asked again, whatever the method", async () => {
    const { port, seen, inbound } = await http2App(constants.NGHTTP2_REFUSED_STREAM);
    expect(await post(port)).toBe("200 ok");
    expect(seen()).toBe(2);
    expect(await inbound.audit.next(() => true)).toMatchObject({ retries: 1, status: 200 });
  });

  it("and says by GOAWAY that it did not begin is asked again on a new connection", async () => {
    let connections = 0;
    const frame = (type: number, flags: number, stream: number, ...payload: readonly number[]): Buffer =>
      Buffer.from([0, 0, payload.length, type, flags, 0, 0, 0, stream, ...payload]);
    const app = await startTcpApp((socket) => {
      const isFirst = connections === 0;
      connections++;
      socket.write(frame(4, 0, 0));
      let received = Buffer.alloc(0);
      let at = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".length;
      socket.on("data", (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
        while (received.length >= at + 9 && received.length >= at + 9 + received.readUIntBE(at, 3)) {
          // GOAWAY: no stream was begun; or HEADERS with END_STREAM, of ":status: 200"
          if (received[at + 3] === 1)
            socket.write(isFirst ? frame(7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) : frame(1, 5, 1, 0x88));
          at += 9 + received.readUIntBE(at, 3);
        }
      });
    });
    atEnd(() => app.close());
    const made = await startMesh({ appPort: app.port, protocol: "http2" });
    atEnd(() => made.close());
    expect(await post(made.port)).toBe("200 ");
    expect(connections).toBe(2);
    expect(await made.inbound.audit.next(() => true)).toMatchObject({ retries: 1, status: 200 });
  });

  it("and resets a stream that it had begun is not asked again for a POST", async () => {
    const { port, seen } = await http2App(constants.NGHTTP2_INTERNAL_ERROR);
    expect(await post(port)).toMatch(/^502 countersign: E_UPSTREAM_RESET/);
    expect(seen()).toBe(1);
  });
});

describe("a reload", () => {
  it("changes the limits of listeners that stay open", async () => {
    const ca = createTestCa(TRUST_DOMAIN);
    const silent = await startSilent();
    atEnd(() => silent.close());
    const out = await web(ca, [`127.0.0.1:${silent.port}`]);
    const { config } = out;
    const timeouts = { ...config.timeouts, handshake: 300 };
    await out.sidecar.setConfig({ ...config, timeouts }, out.compile(""));
    const begun = performance.now();
    expect((await ask(out.port("out"), "/")).headers["x-countersign-code"]).toBe("E_UPSTREAM_HANDSHAKE");
    expect(performance.now() - begun).toBeLessThan(3000);
  });
});
