import { Agent, request } from "node:http";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { describe, expect, it } from "vitest";
import { webSocketAccept } from "../../src/proxy/http1/websocket-accept.ts";
import { startApp, startTcpApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { atEnd } from "../support/at-end.ts";
import { type Mesh, type MeshOptions, startMesh } from "../support/mesh.ts";
import { type RawClient, rawClient } from "../support/raw-client.ts";

async function mesh(appPort: number, options: Omit<MeshOptions, "appPort"> = {}): Promise<Mesh> {
  const made = await startMesh({ ...options, appPort });
  atEnd(() => made.close());
  return made;
}

type Side = "inbound" | "outbound";
const SIDES: readonly Side[] = ["inbound", "outbound"];

const drain = (made: Mesh, side: Side): Promise<number> => made[side].sidecar.drain(5000);

/** Resolves once the side takes no new connection. */
async function draining(made: Mesh, side: Side): Promise<void> {
  for (;;) {
    try {
      const client = await rawClient(side === "inbound" ? made.meshPort : made.port);
      client.socket.destroy();
    } catch {
      return;
    }
  }
}

function http2(port: number): ClientHttp2Session {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on("error", () => undefined);
  atEnd(async () => session.destroy());
  return session;
}

function http2Get(session: ClientHttp2Session, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = session.request({ ":path": path });
    let body = "";
    call.setEncoding("utf8");
    call.on("data", (text: string) => {
      body += text;
    });
    call.on("end", () => resolve(body));
    call.on("error", reject);
  });
}

describe.each(SIDES)("a drain of the %s side", (side) => {
  it.each(["HTTP/1.1", "HTTP/2"])("lets an %s call end that is under way", async (version) => {
    let finish = (): void => undefined;
    const app = await startApp((_, response) => {
      response.write("first ");
      finish = () => response.end("last");
    });
    atEnd(() => app.close());
    const made = await mesh(app.port);
    const arrived = new Promise<void>((resolve) => app.server.once("request", () => resolve()));
    const body = version === "HTTP/2" ? http2Get(http2(made.port), "/") : ask(made.port, "/").then((one) => one.body);
    await arrived;
    const drained = drain(made, side);
    await draining(made, side);
    finish();
    expect(await body).toBe("first last");
    expect(await drained).toBe(0);
  });

  it("lets a WebSocket end by itself", async () => {
    const app = await startTcpApp((socket) =>
      socket.once("data", (head: Buffer) => {
        const key = /sec-websocket-key: (\S+)/i.exec(head.toString("latin1"))?.[1] ?? "";
        socket.write(
          `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${webSocketAccept(key)}\r\n\r\n`,
        );
        socket.on("data", (bytes) => socket.write(bytes));
        socket.on("end", () => socket.end());
      }),
    );
    atEnd(() => app.close());
    const made = await mesh(app.port);
    const client = await rawClient(made.port);
    client.send(
      "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    await client.until((text) => text.includes("\r\n\r\n"));
    await endsInPeace(made, side, client);
  });

  it("lets a TCP connection end by itself, which rides on a shared one", async () => {
    const app = await startTcpApp((socket) => socket.pipe(socket));
    atEnd(() => app.close());
    const made = await mesh(app.port, { protocol: "tcp" });
    const client = await rawClient(made.port);
    client.send("hello");
    await client.until((text) => text === "hello");
    await endsInPeace(made, side, client);
  });

  it("lets a TCP connection end by itself that has its own TLS", async () => {
    const app = await startTcpApp((socket) => socket.pipe(socket));
    atEnd(() => app.close());
    const made = await mesh(app.port, { protocol: "auto" });
    const client = await rawClient(made.port);
    client.send("\u0001\u0002opaque");
    await client.until((text) => text.endsWith("opaque"));
    await endsInPeace(made, side, client);
  });

  it("cuts what is still open at the deadline, and records it", async () => {
    const app = await startTcpApp((socket) => socket.pipe(socket));
    atEnd(() => app.close());
    const made = await mesh(app.port, { protocol: "tcp" });
    const client = await rawClient(made.port);
    client.send("hello");
    await client.until((text) => text === "hello");
    expect(await made[side].sidecar.drain(300)).toBe(1);
    await client.closed();
    expect(await made[side].audit.next(() => true)).toMatchObject({ close: "E_DRAIN_CUT" });
  });
});

/** What is open still carries bytes both ways during the drain, and ends when its ends do. */
async function endsInPeace(made: Mesh, side: Side, client: RawClient): Promise<void> {
  const drained = drain(made, side);
  await draining(made, side);
  client.send("during the drain");
  await client.until((text) => text.endsWith("during the drain"));
  client.socket.end();
  await client.closed();
  expect(await drained).toBe(0);
  for (const one of [made.inbound, made.outbound]) {
    expect(await one.audit.next(() => true)).toMatchObject({ decision: "allow" });
  }
}

describe("a drain under load", () => {
  it("of the app's own sidecar fails no call of an HTTP/1.1 client with kept connections", async () => {
    const app = await startApp((_, response) => void setTimeout(() => response.end("x"), 5));
    atEnd(() => app.close());
    const made = await mesh(app.port);
    const agent = new Agent({ keepAlive: true, maxSockets: 8 });
    atEnd(async () => agent.destroy());
    const failures: string[] = [];
    let answers = 0;
    let isRefused = false;
    const caller = async (): Promise<void> => {
      while (!isRefused) {
        const problem = await new Promise<string | undefined>((resolve) => {
          const call = request({ host: "127.0.0.1", port: made.port, path: "/", agent }, (response) => {
            response.resume();
            response.on("end", () =>
              resolve(response.statusCode === 200 ? undefined : `status ${response.statusCode}`),
            );
            response.on("error", (error) => resolve(error.message));
          });
          call.on("error", (error: NodeJS.ErrnoException) =>
            resolve(call.reusedSocket ? (error.code ?? error.message) : "not taken"),
          );
          call.end();
        });
        // nobody listens any more, or the kernel had the connection and nobody took it from there: it was never ours
        if (problem === "not taken") isRefused = true;
        else if (problem === undefined) answers++;
        else failures.push(problem);
      }
    };
    const callers = Array.from({ length: 8 }, caller);
    await untilTrue(() => answers > 100);
    expect(await made.outbound.sidecar.drain(5000)).toBe(0);
    await Promise.all(callers);
    expect(failures).toEqual([]);
  });

  it("fails no call of an HTTP/2 client, which hears of it by GOAWAY", async () => {
    const app = await startApp((_, response) => void setTimeout(() => response.end("x"), 5));
    atEnd(() => app.close());
    const made = await mesh(app.port);
    const session = http2(made.port);
    let isGoing = false;
    session.on("goaway", () => {
      isGoing = true;
    });
    const bodies: Promise<string>[] = [];
    let answers = 0;
    const callers = Array.from({ length: 8 }, async () => {
      while (!isGoing && !session.closed) {
        const body = http2Get(session, "/");
        bodies.push(body);
        await body;
        answers++;
      }
    });
    await untilTrue(() => answers > 100);
    expect(await made.outbound.sidecar.drain(5000)).toBe(0);
    await Promise.all(callers);
    expect(new Set(await Promise.all(bodies))).toEqual(new Set(["x"]));
  });
});

async function untilTrue(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise<void>((resolve) => void setImmediate(resolve));
}
