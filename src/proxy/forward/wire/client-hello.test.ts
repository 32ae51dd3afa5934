import { createServer, type Socket } from "node:net";
import { connect } from "node:tls";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_CLIENT_HELLO_BYTES, readServerName, TLS_ALERT, tlsAlert } from "./client-hello.ts";

const u16 = (value: number): number[] => [value >>> 8, value & 255];
const vector = (width: 1 | 2, content: readonly number[]): number[] =>
  width === 1 ? [content.length, ...content] : [...u16(content.length), ...content];
const ascii = (text: string): number[] => [...Buffer.from(text, "latin1")];
const hostName = (name: string): number[] => [0, ...vector(2, ascii(name))];
const sni = (...names: readonly (readonly number[])[]): number[] => [0, 0, ...vector(2, vector(2, names.flat()))];
const OTHER = [0, 43, ...vector(2, [2, 3, 4])];

function body(extensions: readonly number[] | undefined): number[] {
  const head = [3, 3, ...Array.from({ length: 32 }, () => 7), 0, ...vector(2, [0x13, 1]), ...vector(1, [0])];
  return extensions === undefined ? head : [...head, ...vector(2, extensions)];
}

const message = (content: readonly number[]): number[] => [1, 0, ...u16(content.length), ...content];
const record = (content: readonly number[]): number[] => [22, 3, 1, ...vector(2, content)];
const hello = (...extensions: readonly (readonly number[])[]): Uint8Array =>
  Uint8Array.from(record(message(body(extensions.flat()))));

/** The bytes of a real client. */
async function realHello(servername: string | undefined): Promise<Uint8Array> {
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  const server = createServer((socket: Socket) => {
    socket.once("data", (chunk: Buffer) => {
      resolve(Uint8Array.from(chunk));
      socket.destroy();
    });
    socket.on("error", () => undefined);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("no port");
  const client = connect({
    port: address.port,
    host: "127.0.0.1",
    rejectUnauthorized: false,
    ...(servername === undefined ? {} : { servername }),
  });
  client.on("error", () => undefined);
  const bytes = await promise;
  client.destroy();
  server.close();
  return bytes;
}

describe("the server name", () => {
  it.each([
    { name: "alone", input: hello(sni(hostName("example.org"))), expected: "example.org" },
    { name: "among others", input: hello(OTHER, sni(hostName("a.example.org")), OTHER), expected: "a.example.org" },
    { name: "in its own case", input: hello(sni(hostName("Example.ORG"))), expected: "Example.ORG" },
  ])("$name", ({ input, expected }) => {
    expect(readServerName(input)).toEqual({ kind: "name", name: expected });
  });

  it("of a real client is read", async () => {
    expect(readServerName(await realHello("payments.example.org"))).toEqual({
      kind: "name",
      name: "payments.example.org",
    });
    expect(readServerName(await realHello(undefined))).toEqual({ kind: "none" });
  });

  it.each([
    ["no extension of that kind", hello(OTHER)],
    ["no extensions at all", Uint8Array.from(record(message(body(undefined))))],
  ])("is none with %s", (_name, input) => {
    expect(readServerName(input)).toEqual({ kind: "none" });
  });

  it("is found whatever the records and the reads that carry it", () => {
    const whole = message(body([...OTHER, ...sni(hostName("example.org"))]));
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 1, max: whole.length - 1 }), { maxLength: 12 }), (cuts) => {
        const at = [0, ...cuts.toSorted((a, b) => a - b), whole.length];
        const records = at.slice(1).flatMap((end, index) => record(whole.slice(at[index], end)));
        const input = Uint8Array.from(records);
        expect(readServerName(input)).toEqual({ kind: "name", name: "example.org" });
        for (let length = 0; length < input.length; length++) {
          expect(readServerName(input.subarray(0, length)).kind, `${length} bytes`).toBe("more");
        }
      }),
      { numRuns: 20 },
    );
  });
});

describe("is malformed where two programs could read it differently", () => {
  it.each([
    ["two extensions", hello(sni(hostName("a.example")), sni(hostName("b.example")))],
    ["two names", hello(sni(hostName("a.example"), hostName("b.example")))],
    ["a name of another kind", hello(sni([1, ...vector(2, ascii("a.example"))]))],
    ["an empty name", hello(sni(hostName("")))],
    ["an empty list", hello([0, 0, ...vector(2, vector(2, []))])],
    ["no list", hello([0, 0, 0, 0])],
    ["a NUL in the name", hello(sni(hostName("a.example\0.b.example")))],
    ["a space in the name", hello(sni(hostName("a example")))],
    ["a list longer than its extension", hello([0, 0, ...vector(2, [0, 9, ...hostName("a.example")])])],
    ["bytes behind the list", hello([0, 0, ...vector(2, [...vector(2, hostName("a.example")), 0])])],
    ["bytes behind the extensions", Uint8Array.from(record(message([...body(OTHER), 0])))],
    ["an extension that leads out", hello([0, 43, 0, 9, 1])],
    ["a hello that ends in its ciphers", Uint8Array.from(record(message(body(undefined).slice(0, 36))))],
    ["another handshake message", Uint8Array.from(record([2, 0, 0, 0]))],
    ["an alert", Uint8Array.from([21, 3, 3, 0, 2, 2, 40])],
    ["another version of records", Uint8Array.from([22, 2, 0, 0, 1, 1])],
    ["an empty record", Uint8Array.from([22, 3, 1, 0, 0])],
    ["a record that is too long", Uint8Array.from([22, 3, 1, 0x40, 1])],
    ["a change of record kind in the middle", Uint8Array.from([...record([1, 0, 0, 9]), 23])],
    ["a hello that is too long", Uint8Array.from(record([1, 1, 0, 0]))],
  ])("%s", (_name, input) => {
    expect(readServerName(input)).toMatchObject({ kind: "malformed" });
  });

  it("a hello that never ends", () => {
    const trickle = Array.from({ length: MAX_CLIENT_HELLO_BYTES / 6 + 1 }, () => record([0])).flat();
    const input = Uint8Array.from([...record([1, 0, 0x3f, 0xff]), ...trickle]);
    expect(readServerName(input)).toMatchObject({ kind: "malformed" });
  });

  it("no bytes at all make it throw or take long", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
        readServerName(noise);
        readServerName(Uint8Array.from([22, 3, 1, 1, 44, ...noise]));
        readServerName(Uint8Array.from(record(message([...body(undefined), ...noise]))));
      }),
    );
  });
});

it("an alert is a fatal one in plaintext", () => {
  expect([...tlsAlert(TLS_ALERT.unrecognizedName)]).toEqual([21, 3, 3, 0, 2, 2, 112]);
});
