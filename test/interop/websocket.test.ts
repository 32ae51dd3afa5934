import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RawData, WebSocket, WebSocketServer } from "ws";
import { finalRecords } from "../support/audit-records.ts";
import { countersignProcesses } from "../support/countersign-process.ts";
import { type SidecarPair, startPair } from "../support/sidecar-pair.ts";
import { temporaryFolder } from "./issuer-process.ts";

const MIB = 1024 * 1024;

/** What the server saw of one connection's end. */
interface ServerClose {
  readonly code: number;
  readonly reason: string;
}

// http: HTTP/2 between the sidecars, where they agree on it; http1: HTTP/1.1 on every hop.
describe.each(["http", "http1"])("ws through a pair of sidecars with protocol %s", (protocol) => {
  const folder = temporaryFolder();
  const processes = countersignProcesses();
  const closes: ServerClose[] = [];
  let server: WebSocketServer;
  let pair: SidecarPair;

  beforeAll(async () => {
    server = new WebSocketServer({
      host: "127.0.0.1",
      port: 0,
      maxPayload: 64 * MIB,
      autoPong: false, // by itself ws answers a storm with a cut
      perMessageDeflate: { threshold: 1024 },
      handleProtocols: (offered) => (offered.has("orders.v2") ? "orders.v2" : false),
      verifyClient: ({ req }, settle) =>
        settle(!req.url?.startsWith("/members"), 401, "members only", { "x-why": "no ticket" }),
    });
    server.on("connection", (socket, request) => {
      socket.on("error", () => undefined);
      socket.on("ping", (data) => socket.pong(data));
      socket.on("close", (code, reason) => closes.push({ code, reason: reason.toString() }));
      const closing = /^\/close\/(\d+)$/.exec(request.url ?? "")?.[1];
      if (closing !== undefined) socket.close(Number(closing), "the server's wish");
      else if (request.url === "/terminate") socket.terminate();
      else if (request.url === "/greet") socket.send("hello before you said anything");
      else socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
    });
    await once(server, "listening");
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("a TCP server has no port");
    pair = await startPair({ dir: folder.path, processes, appPort: address.port, protocol });
  });

  afterAll(async () => {
    for (const socket of server.clients) socket.terminate();
    server.close();
    await processes.close();
    folder.remove();
  });

  async function open(path = "/echo", options: object = {}, protocols: string[] = []): Promise<WebSocket> {
    const socket = new WebSocket(`ws://127.0.0.1:${pair.port}${path}`, protocols, {
      perMessageDeflate: false,
      maxPayload: 64 * MIB,
      ...options,
    });
    socket.on("error", () => undefined);
    await once(socket, "open");
    return socket;
  }

  async function message(socket: WebSocket): Promise<{ readonly data: Buffer; readonly isBinary: boolean }> {
    const [data, isBinary] = (await once(socket, "message")) as [RawData, boolean];
    if (!Buffer.isBuffer(data)) throw new Error("ws gives messages as one Buffer");
    return { data, isBinary };
  }

  async function closed(socket: WebSocket): Promise<[number, string]> {
    const [code, reason] = (await once(socket, "close")) as [number, Buffer];
    return [code, reason.toString()];
  }

  const sizes = [0, 1, 125, 126, 127, 4_096, 65_535, 65_536, MIB, 16 * MIB];
  it.each(sizes)("echoes a binary and a text message of %i bytes", async (size) => {
    const socket = await open();
    const bytes = Buffer.alloc(size);
    for (let at = 0; at < size; at++) bytes[at] = (at * 31 + (at >> 8)) & 0xff;
    socket.send(bytes);
    const binary = await message(socket);
    expect(binary.isBinary).toBe(true);
    expect(binary.data.equals(bytes)).toBe(true);
    const text = "ü€𝄞x".repeat(Math.ceil(size / 10)).slice(0, size);
    socket.send(text);
    const answer = await message(socket);
    expect(answer.isBinary).toBe(false);
    expect(answer.data.toString() === text).toBe(true);
    socket.close();
    await closed(socket);
  });

  it("keeps many messages in order, whatever their size", async () => {
    const socket = await open();
    const count = 5_000;
    const echoed: number[] = [];
    const done = new Promise<void>((resolve) => {
      socket.on("message", (data: Buffer) => {
        echoed.push(data.readUInt32BE(0));
        if (echoed.length === count) resolve();
      });
    });
    for (let at = 0; at < count; at++) {
      const bytes = Buffer.alloc(4 + ((at * 7919) % 3_000));
      bytes.writeUInt32BE(at);
      socket.send(bytes);
    }
    await done;
    expect(echoed).toEqual(Array.from({ length: count }, (_, at) => at));
    socket.close();
    await closed(socket);
  });

  it("passes fragmented messages with pings between the fragments", async () => {
    const socket = await open();
    const pongs: string[] = [];
    socket.on("pong", (data) => pongs.push(data.toString()));
    for (let at = 0; at < 100; at++) {
      socket.send(`part ${at} `, { fin: false });
      if (at % 10 === 0) socket.ping(`between ${at}`);
    }
    socket.send("end", { fin: true });
    const { data } = await message(socket);
    expect(data.toString()).toBe(`${Array.from({ length: 100 }, (_, at) => `part ${at} `).join("")}end`);
    expect(pongs).toEqual(Array.from({ length: 10 }, (_, at) => `between ${at * 10}`));
    socket.close();
    await closed(socket);
  });

  it("answers a storm of 20 000 pings, each with its pong", async () => {
    const socket = await open();
    const count = 20_000;
    let next = 0;
    const done = new Promise<void>((resolve, reject) => {
      socket.on("close", () => reject(new Error(`closed after ${next} pongs`)));
      socket.on("pong", (data) => {
        if (data.readUInt32BE(0) !== next) reject(new Error(`pong ${next} is out of order`));
        if (++next === count) resolve();
      });
    });
    for (let at = 0; at < count; at++) {
      const payload = Buffer.alloc(4);
      payload.writeUInt32BE(at);
      socket.ping(payload);
    }
    await done;
    socket.removeAllListeners("close");
    socket.close();
    await closed(socket);
  });

  it.each([1000, 1001, 1008, 1011, 3000, 4999])("passes the close code %i both ways", async (code) => {
    const fromServer = await open(`/close/${code}`);
    expect(await closed(fromServer)).toEqual([code, "the server's wish"]);
    const fromClient = await open();
    const before = closes.length;
    fromClient.close(code, "the client's wish");
    expect(await closed(fromClient)).toEqual([code, "the client's wish"]);
    await expect.poll(() => closes.slice(before)).toContainEqual({ code, reason: "the client's wish" });
  });

  it("shows a broken connection as broken, both ways", async () => {
    const fromServer = await open("/terminate");
    expect((await closed(fromServer))[0]).toBe(1006);
    const fromClient = await open();
    const before = closes.length;
    fromClient.terminate();
    await expect.poll(() => closes.slice(before), { timeout: 5_000 }).toContainEqual({ code: 1006, reason: "" });
  });

  it("passes what the server says first, with the answer to the handshake", async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${pair.port}/greet`);
    const { data } = await message(socket);
    expect(data.toString()).toBe("hello before you said anything");
    socket.close();
    await closed(socket);
  });

  it("negotiates permessage-deflate and subprotocols end to end", async () => {
    const socket = await open("/echo", { perMessageDeflate: { threshold: 0 } }, ["orders.v1", "orders.v2"]);
    expect(socket.extensions).toContain("permessage-deflate");
    expect(socket.protocol).toBe("orders.v2");
    for (const text of ["", "short", "compressible ".repeat(100_000)]) {
      socket.send(text);
      expect((await message(socket)).data.toString() === text).toBe(true);
    }
    socket.close();
    await closed(socket);
  });

  it("gives the server's refusal to the client as it is", async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${pair.port}/members`);
    socket.on("error", () => undefined);
    const [, response] = (await once(socket, "unexpected-response")) as [
      unknown,
      { statusCode: number; headers: Record<string, string> },
    ];
    expect(response.statusCode).toBe(401);
    expect(response.headers["x-why"]).toBe("no ticket");
    socket.terminate();
  });

  it("serves 200 sockets at once, and has one record for each", async () => {
    const count = (path: string): number =>
      finalRecords(`${folder.path}/orders.jsonl`).filter((record) => record.path === path).length;
    const sockets = await Promise.all(Array.from({ length: 200 }, () => open("/many")));
    const echoes = sockets.map((socket) => message(socket));
    for (const [at, socket] of sockets.entries()) socket.send(`socket ${at}`);
    expect((await Promise.all(echoes)).map(({ data }) => data.toString())).toEqual(
      sockets.map((_, at) => `socket ${at}`),
    );
    const ends = sockets.map((socket) => closed(socket));
    for (const socket of sockets) socket.close(1000);
    await Promise.all(ends);
    await expect.poll(() => count("/many"), { timeout: 10_000 }).toBe(200);
  });
});
