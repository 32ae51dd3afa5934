import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { duplexPair } from "node:stream";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import { mendAuthority } from "./mend-authority.ts";

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const END_HEADERS = 0x04;
function frame(type: number, flags: number, payload: Buffer): Buffer {
  const head = Buffer.from([0, 0, 0, type, flags, 0, 0, 0, 1]);
  head.writeUIntBE(payload.length, 0, 3);
  return Buffer.concat([head, payload]);
}
/** Literal with incremental indexing of the static table's entry 1, as Netty writes it. */
const authority = (value: string): Buffer =>
  Buffer.concat([Buffer.from([0x41, value.length]), Buffer.from(value, "latin1")]);
const named = (name: string, value: string): Buffer =>
  Buffer.concat([Buffer.from([0x40, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)]);
const settings = frame(4, 0, Buffer.alloc(0));
/** On the connection itself, where Node insists on it. */
const settings0 = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);

/** What comes out of `bytes` that arrive in chunks of this size. */
async function mended(bytes: Buffer, chunkSize: number): Promise<string> {
  const [near, far] = duplexPair();
  const out = text(mendAuthority(far).setEncoding("latin1"));
  for (let i = 0; i < bytes.length; i += chunkSize) near.write(bytes.subarray(i, i + chunkSize));
  near.end();
  return out;
}

describe("mendAuthority", () => {
  const path = authority("/tmp/x/issuer.sock");
  const good = authority("_tmp_x_issuer.sock");
  const padded = (block: Buffer): Buffer =>
    Buffer.concat([Buffer.from([2, 0, 0, 0, 0, 9]), block, Buffer.from([0x2f, 0x2f])]);
  it.each<[string, Buffer, Buffer]>([
    ["a path", frame(1, END_HEADERS, path), frame(1, END_HEADERS, good)],
    [
      "a path after other fields",
      frame(1, 5, Buffer.concat([Buffer.from([0x83, 0x3f, 0xe1, 0x1f]), named("a/b", "/c"), path])),
      frame(1, 5, Buffer.concat([Buffer.from([0x83, 0x3f, 0xe1, 0x1f]), named("a/b", "/c"), good])),
    ],
    [
      "a path in a padded frame with priority",
      frame(1, END_HEADERS | 0x28, padded(path)),
      frame(1, END_HEADERS | 0x28, padded(good)),
    ],
    [
      "two requests",
      Buffer.concat([frame(1, END_HEADERS, path), frame(0, 1, Buffer.from("/body/")), frame(1, END_HEADERS, path)]),
      Buffer.concat([frame(1, END_HEADERS, good), frame(0, 1, Buffer.from("/body/")), frame(1, END_HEADERS, good)]),
    ],
    [
      "an authority that is none",
      frame(1, END_HEADERS, authority("localhost:80")),
      frame(1, END_HEADERS, authority("localhost:80")),
    ],
    ["a block that goes on in another frame", frame(1, 0, path), frame(1, 0, path)],
    [
      "a block that ends in the middle of a text",
      frame(1, END_HEADERS, path.subarray(0, 5)),
      frame(1, END_HEADERS, path.subarray(0, 5)),
    ],
    [
      "a length that never ends",
      frame(1, END_HEADERS, Buffer.alloc(9, 0xff)),
      frame(1, END_HEADERS, Buffer.alloc(9, 0xff)),
    ],
  ])("%s comes out the same, whatever the chunks", async (_name, sent, expected) => {
    const bytes = Buffer.concat([preface, settings, sent]);
    const wanted = Buffer.concat([preface, settings, expected]).toString("latin1");
    const results = await Promise.all([1, 2, 7, 1000].map((size) => mended(bytes, size)));
    expect(results).toEqual(results.map(() => wanted));
  });

  it("lets Node's HTTP/2 serve a client that names the socket's path", async () => {
    const server = createServer();
    const [near, far] = duplexPair();
    const served = once(server, "stream");
    server.emit("connection", mendAuthority(far));
    const postToRoot = Buffer.from([0x83, 0x86, 0x84]);
    near
      .resume()
      .write(Buffer.concat([preface, settings0, frame(1, END_HEADERS | 1, Buffer.concat([postToRoot, path]))]));
    const [, headers] = (await served) as [ServerHttp2Stream, IncomingHttpHeaders];
    expect(headers[":authority"]).toBe("_tmp_x_issuer.sock");
    near.destroy();
    far.destroy();
  });

  it.each(["socket", "mended connection"])("destroys both ends when the %s is", async (which) => {
    const [, socket] = duplexPair();
    const connection = mendAuthority(socket);
    const [gone, other] = which === "socket" ? [socket, connection] : [connection, socket];
    for (const end of [gone, other]) end.on("error", () => undefined).resume();
    gone.destroy();
    if (!other.destroyed) await once(other, "close");
    expect(other.destroyed).toBe(true);
  });
});
