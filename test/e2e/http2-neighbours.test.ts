import { type ClientHttp2Session, connect, createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { afterEach, describe, expect, it, vi } from "vitest";
import { HpackEncoder } from "../../src/proxy/http2/hpack-encoder.ts";
import { startApp } from "../support/app.ts";
import { atEnd } from "../support/at-end.ts";
import { FLAG, FRAME, type Frame, frame, headers, requestFields, windowUpdate } from "../support/http2-frames.ts";
import { http2RawClient } from "../support/http2-raw-client.ts";
import { type Mesh, type MeshOptions, startMesh, WEB } from "../support/mesh.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

async function mesh(options: MeshOptions): Promise<Mesh> {
  const made = await startMesh(options);
  atEnd(() => made.close());
  return made;
}

async function http2App(handler: (stream: ServerHttp2Stream, path: string) => void): Promise<number> {
  const server = createServer();
  server.on("session", (session) => {
    session.on("error", () => undefined);
    atEnd(() => session.destroy());
  });
  server.on("stream", (stream: ServerHttp2Stream, fields) => {
    stream.on("error", () => undefined);
    handler(stream, String(fields[":path"]));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  atEnd(() => void server.close());
  return (server.address() as AddressInfo).port;
}

function session(port: number): ClientHttp2Session {
  const made = connect(`http://127.0.0.1:${port}`);
  made.on("error", () => undefined);
  atEnd(() => made.destroy());
  return made;
}

/** The answer's status and body, or the name of the reset. */
function answer(client: ClientHttp2Session, path: string, fields: Record<string, string> = {}): Promise<string> {
  return new Promise((resolve) => {
    const stream = client.request({ ":path": path, ...fields });
    let text = "";
    stream.on("response", (got) => (text += `${got[":status"]} `));
    stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
    stream.on("error", () => undefined);
    stream.on("close", () => resolve(stream.rstCode === 0 ? text : `reset ${stream.rstCode}`));
  });
}

describe("a field that can't be written", () => {
  const poisoned = (): void => {
    const { field } = HpackEncoder.prototype;
    vi.spyOn(HpackEncoder.prototype, "field").mockImplementation(function (this: HpackEncoder, out, name, value) {
      field.call(this, out, name, name === "x-poison" ? "a\nb" : value);
    });
  };

  it("ends the response that it came with, with a record, and nothing else", async () => {
    const app = await startApp((request, response) => {
      if (request.url === "/bad") response.setHeader("x-poison", "1");
      response.end("ok");
    });
    atEnd(() => app.close());
    const { port, inbound } = await mesh({ appPort: app.port });
    const client = session(port);
    expect(await answer(client, "/good")).toBe("200 ok");
    poisoned();
    expect(await answer(client, "/bad")).toMatch(/^(502|reset)/);
    expect(await answer(client, "/good")).toBe("200 ok");
    expect(await inbound.audit.next(({ path }) => path === "/bad")).toMatchObject({
      decision: "error",
      reason: "E_HEAD_UNWRITABLE",
    });
    expect(inbound.sidecar.listeners[0]?.connections).toBe(1);
  });

  it("ends the request that it came with, with an answer", async () => {
    const app = await startApp((_, response) => response.end("ok"));
    atEnd(() => app.close());
    const { port, outbound } = await mesh({ appPort: app.port });
    const client = session(port);
    poisoned();
    // Node's own client is not spied on
    expect(await answer(client, "/bad", { "x-poison": "1" })).toMatch(/^502 countersign: E_HEAD_UNWRITABLE/);
    expect(await answer(client, "/good")).toBe("200 ok");
    expect(outbound.audit.ended.map(({ reason }) => reason)).toContain("E_HEAD_UNWRITABLE");
    expect(outbound.audit.ended).toHaveLength(2);
  });
});

describe("audit", () => {
  it("has a record of a request that was refused above the limit of streams", async () => {
    const port = await http2App(() => undefined);
    const { port: outPort, outbound } = await mesh({ appPort: port, both: "limits: { streams: 2 }" });
    const client = await http2RawClient(outPort);
    atEnd(() => client.destroy());
    for (const id of [1, 3, 5]) client.send(headers(id, requestFields("/")));
    const refused = await client.next(({ type }) => type === FRAME.RST_STREAM);
    expect([refused.stream, refused.payload.readUInt32BE()]).toEqual([5, 7]);
    expect(await outbound.audit.next(() => true)).toMatchObject({ kind: "refusal", reason: "E_HTTP2_STREAM_LIMIT" });
  });

  it("says by which fault a caller lost its call", async () => {
    const port = await http2App(() => undefined);
    const { port: outPort, outbound } = await mesh({ appPort: port });
    const client = await http2RawClient(outPort);
    atEnd(() => client.destroy());
    client.send(
      Buffer.concat([
        headers(1, requestFields("/", [["content-length", "1"]], "POST"), FLAG.END_HEADERS),
        frame(FRAME.DATA, 0, 1, Buffer.from("xy")),
      ]),
    );
    expect(await outbound.audit.next(() => true)).toMatchObject({
      reason: "E_CALLER_GONE",
      detail: "more DATA than content-length announces",
    });
    expect(outbound.audit.ended).toHaveLength(1);
  });
});

describe("a caller that has not read yet how many streams it may open", () => {
  it("has those beyond refused, to be sent again, and keeps its connection", async () => {
    const answers: ServerHttp2Stream[] = [];
    const port = await http2App((stream) => void answers.push(stream));
    const { port: outPort, outbound } = await mesh({ appPort: port });
    // Node's client supposes a limit until it is told one
    const client = connect(`http://127.0.0.1:${outPort}`, { peerMaxConcurrentStreams: 1_000 });
    client.on("error", () => undefined);
    atEnd(() => client.destroy());
    const calls = Array.from({ length: 600 }, (_, at) => answer(client, `/${at}`));
    const early = await Promise.all(calls.slice(100));
    expect(new Set(early)).toEqual(new Set(["reset 7"]));
    await vi.waitFor(() => expect(answers).toHaveLength(100));
    for (const stream of answers) stream.end("ok");
    expect(new Set(await Promise.all(calls.slice(0, 100)))).toEqual(new Set(["200 ok"]));
    const later = answer(client, "/later");
    await vi.waitFor(() => expect(answers).toHaveLength(101));
    answers[100]?.end("ok");
    expect(await later).toBe("200 ok");
    expect(outbound.sidecar.listeners[0]?.connections).toBe(1);
  });
});

describe("a caller that reads no answers", () => {
  it("is not heard any more, instead of having them kept for it", async () => {
    // as many as it likes: it does not wait for answers, and none of its streams is to be refused for that
    const { port, outbound } = await mesh({ appPort: 1, both: "limits: { streams: 10000 }" });
    const client = await http2RawClient(port, { paused: true });
    atEnd(() => client.destroy());
    const refused = [
      ["content-type", "application/grpc"],
      ["x-countersign-hops", "99"],
      ["x-large", "l".repeat(900)],
    ] as const;
    const most = 120_000;
    let sent = 0;
    const keepsUp = (): Promise<boolean> =>
      vi
        .waitFor(() => expect(outbound.audit.ended.length).toBeGreaterThan(sent - 5_000), { timeout: 3_000 })
        .then(() => true)
        .catch(() => false);
    const isHeard = async (): Promise<boolean> => {
      while (sent < most) {
        // never more at once than it may have open: beyond that it would be cut off for another reason
        if (sent % 1_000 === 0 && !(await keepsUp())) return false;
        if (client.send(headers(2 * sent++ + 1, requestFields("/", refused)))) continue;
        if (!(await drains(client.socket))) return false;
      }
      return true;
    };
    expect(await isHeard()).toBe(false);
    const served = outbound.audit.ended.length;
    expect(served).toBeLessThan(sent);
    client.socket.resume();
    await client.next(({ type, stream }) => type === FRAME.HEADERS && stream === 2 * sent - 1);
    expect(outbound.audit.ended).toHaveLength(sent);
  });
});

/** Whether the other side takes more within a second. */
function drains(socket: Socket): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      socket.removeListener("drain", taken);
      resolve(false);
    }, 1000);
    const taken = (): void => {
      clearTimeout(timer);
      resolve(true);
    };
    socket.once("drain", taken);
  });
}

describe("a drain", () => {
  it("is final for a caller that never says that it has heard of it", async () => {
    const open = Promise.withResolvers<ServerHttp2Stream>();
    const port = await http2App((stream) => open.resolve(stream));
    const { meshPort, inbound, ca } = await mesh({ appPort: port });
    const client = await http2RawClient(meshPort, { identity: ca.issue({ spiffeId: WEB }), polite: false });
    atEnd(() => client.destroy());
    client.send(headers(1, requestFields("/1")));
    const stream = await open.promise;
    const drained = inbound.sidecar.drain(20_000);
    await client.next(({ type, payload }) => type === FRAME.GOAWAY && payload.readUInt32BE() === 1);
    client.send(headers(3, requestFields("/3")));
    stream.respond({ ":status": 204 }, { endStream: true });
    await client.next((one: Frame) => one.type === FRAME.HEADERS && one.stream === 1);
    await client.end();
    expect(await drained).toBe(0);
    expect(inbound.audit.ended.map(({ path }) => path)).toEqual(["/1"]);
  });
});

describe("a caller that takes its time", () => {
  it.each(["HTTP/1.1", "HTTP/2"])(
    "and gives no window has hardly anything read of what an %s app answers",
    async (version) => {
      const large = Buffer.alloc(1 << 20, "a");
      const app = await startApp((_, response) => response.end(large));
      atEnd(() => app.close());
      const port = version === "HTTP/2" ? await http2App((stream) => stream.end(large)) : app.port;
      const { meshPort, ca, inbound } = await mesh({ appPort: port });
      const identity = ca.issue({ spiffeId: WEB });
      const client = await http2RawClient(meshPort, { identity, settings: [[4, 0]] });
      atEnd(() => client.destroy());
      for (let id = 1; id < 80; id += 2) client.send(headers(id, requestFields("/")));
      for (let id = 1; id < 80; id += 2) {
        await client.next(({ type, stream }) => type === FRAME.HEADERS && stream === id);
      }
      // one of them gets room after all, and with it everything
      const update = (): void => void client.send(Buffer.concat([windowUpdate(0, 1 << 20), windowUpdate(1, 1 << 20)]));
      update();
      await client.next(({ type, stream, flags }) => type === FRAME.DATA && stream === 1 && flags === FLAG.END_STREAM);
      client.destroy();
      const records = await Promise.all(
        Array.from({ length: 40 }, (_, at) => inbound.audit.next((one) => inbound.audit.ended[at] === one)),
      );
      const read = records.map(({ bytesOut }) => bytesOut).sort((a, b) => b - a);
      expect(read[0]).toBe(1 << 20);
      expect(read[1]).toBeLessThanOrEqual(2048);
    },
  );

  it("and gives no window gets answers without a body", async () => {
    const port = await http2App((stream, path) => {
      if (path === "/204") stream.respond({ ":status": 204 }, { endStream: true });
      else {
        stream.respond({ ":status": 200 }, { waitForTrailers: true });
        stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "0" }));
        stream.end();
      }
    });
    const { meshPort, ca } = await mesh({ appPort: port });
    const client = await http2RawClient(meshPort, { identity: ca.issue({ spiffeId: WEB }), settings: [[4, 0]] });
    atEnd(() => client.destroy());
    for (const [id, path] of [
      [1, "/204"],
      [3, "/trailers"],
    ] as const) {
      client.send(headers(id, requestFields(path)));
      await client.next(({ stream, flags }) => stream === id && (flags & FLAG.END_STREAM) !== 0);
    }
  });

  it("keeps a call in which only the answer goes on", async () => {
    const port = await http2App((stream) => {
      stream.respond({ ":status": 200 });
      let left = 15;
      const timer = setInterval(() => {
        stream.write("a");
        if (--left > 0) return;
        clearInterval(timer);
        stream.end("b");
      }, 50);
    });
    const { port: outPort } = await mesh({ appPort: port, both: "timeouts: { idle: 300ms }" });
    const stream = session(outPort).request({ ":path": "/", ":method": "POST" });
    let text = "";
    stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
    stream.on("error", () => undefined);
    await new Promise((resolve) => stream.once("close", resolve));
    expect(text).toBe(`${"a".repeat(15)}b`);
  });

  it("gets the whole of an answer whose app has ended its connection meanwhile", async () => {
    const gone = Promise.withResolvers<void>();
    const port = await http2App((stream) => {
      stream.session?.once("close", () => gone.resolve());
      stream.respond({ ":status": 200 });
      stream.end(Buffer.alloc(4_000, "a"));
      stream.session?.close();
    });
    const { meshPort, ca } = await mesh({ appPort: port });
    const identity = ca.issue({ spiffeId: WEB });
    const client = await http2RawClient(meshPort, { identity, settings: [[4, 0]] });
    atEnd(() => client.destroy());
    client.send(headers(1, requestFields("/")));
    await client.next(({ type }) => type === FRAME.HEADERS);
    await gone.promise;
    client.send(windowUpdate(1, 60_000));
    await client.next(({ type, flags }) => type === FRAME.DATA && (flags & FLAG.END_STREAM) !== 0);
    const data = client.frames.filter(({ type }) => type === FRAME.DATA);
    expect(data.reduce((sum, { payload }) => sum + payload.length, 0)).toBe(4_000);
  });

  it("lets an HTTP/2 app get rid of a few kilobytes of each answer, while others have theirs at full speed", async () => {
    const sent = new Map<string, number>();
    const piece = Buffer.alloc(1024);
    const port = await http2App((stream, path) => {
      stream.respond({ ":status": 200 });
      const next = (): void => {
        const before = sent.get(path) ?? 0;
        sent.set(path, before + piece.length);
        if (before + piece.length === 1 << 20) stream.end();
        else if (!stream.destroyed) stream.write(piece, next);
      };
      stream.write(piece, next);
    });
    const { meshPort, ca } = await mesh({ appPort: port });
    const identity = ca.issue({ spiffeId: WEB });
    const stalled = await http2RawClient(meshPort, { identity, settings: [[4, 0]] });
    atEnd(() => stalled.destroy());
    const ids = Array.from({ length: 100 }, (_, at) => 2 * at + 1);
    for (const id of ids) stalled.send(headers(id, requestFields(`/${id}`)));
    await Promise.all(ids.map((id) => stalled.next(({ type, stream }) => type === FRAME.HEADERS && stream === id)));
    const other = await http2RawClient(meshPort, { identity, settings: [[4, 1 << 30]] });
    atEnd(() => other.destroy());
    other.send(Buffer.concat([windowUpdate(0, 1 << 30), headers(1, requestFields("/other"))]));
    await other.next(({ type, flags }) => type === FRAME.DATA && (flags & FLAG.END_STREAM) !== 0);
    expect(sent.get("/other")).toBe(1 << 20);
    for (const id of ids) expect(sent.get(`/${id}`)).toBeLessThanOrEqual(8 * 1024);
  });
});
