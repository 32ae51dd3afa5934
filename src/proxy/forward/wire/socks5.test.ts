import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  MAX_SOCKS5_MESSAGE,
  readSocks5Greeting,
  readSocks5Request,
  SOCKS5_REPLY,
  socks5Method,
  socks5ReplyBytes,
} from "./socks5.ts";

const bytes = (...values: readonly (number | string)[]): Uint8Array =>
  Uint8Array.from(values.flatMap((value) => (typeof value === "number" ? [value] : [...Buffer.from(value, "latin1")])));

describe("a greeting", () => {
  it.each([
    { name: "nothing yet", input: bytes(), expected: { kind: "more" } },
    { name: "the version alone", input: bytes(5), expected: { kind: "more" } },
    { name: "fewer methods than announced", input: bytes(5, 2, 0), expected: { kind: "more" } },
    { name: "no authentication", input: bytes(5, 1, 0), expected: { kind: "greeting", used: 3, acceptable: true } },
    {
      name: "no authentication among others, and what follows",
      input: bytes(5, 3, 2, 1, 0, 5, 1),
      expected: { kind: "greeting", used: 5, acceptable: true },
    },
    { name: "a password only", input: bytes(5, 1, 2), expected: { kind: "greeting", used: 3, acceptable: false } },
    {
      name: "a zero behind the methods",
      input: bytes(5, 1, 2, 0),
      expected: { kind: "greeting", used: 3, acceptable: false },
    },
  ])("$name", ({ input, expected }) => {
    expect(readSocks5Greeting(input)).toEqual(expected);
  });

  it.each([
    ["SOCKS4", bytes(4, 1, 0, 80, 1, 2, 3, 4, 0)],
    ["no method at all", bytes(5, 0)],
  ])("%s is malformed", (_name, input) => {
    expect(readSocks5Greeting(input)).toMatchObject({ kind: "malformed" });
  });

  it("is answered by the method that is used, or by none", () => {
    expect([...socks5Method(true)]).toEqual([5, 0]);
    expect([...socks5Method(false)]).toEqual([5, 255]);
  });
});

describe("a request", () => {
  it.each([
    {
      name: "a name",
      input: bytes(5, 1, 0, 3, 11, "example.org", 1, 187),
      expected: { kind: "connect", used: 18, host: "example.org", hostKind: "name", port: 443 },
    },
    {
      name: "an IPv4 address and early bytes",
      input: bytes(5, 1, 0, 1, 192, 0, 2, 1, 0, 80, 22, 3, 1),
      expected: { kind: "connect", used: 10, host: "192.0.2.1", hostKind: "address", port: 80 },
    },
    {
      name: "an IPv6 address",
      input: bytes(5, 1, 0, 4, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 255, 255),
      expected: { kind: "connect", used: 22, host: "2001:db8::1", hostKind: "address", port: 65_535 },
    },
    {
      name: "an IPv4-mapped address, which is IPv4",
      input: bytes(5, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1, 0, 80),
      expected: { kind: "connect", used: 22, host: "127.0.0.1", hostKind: "address", port: 80 },
    },
    {
      name: "a name whose bytes are left to the owner",
      input: bytes(5, 1, 0, 3, 3, "a\0b", 0, 80),
      expected: { kind: "connect", used: 10, host: "a\0b", hostKind: "name", port: 80 },
    },
  ])("for $name", ({ input, expected }) => {
    expect(readSocks5Request(input)).toEqual(expected);
    for (let length = 0; length < expected.used; length++) {
      expect(readSocks5Request(input.subarray(0, length)), `${length} bytes`).toEqual({ kind: "more" });
    }
  });

  it.each([
    ["BIND", bytes(5, 2), SOCKS5_REPLY.commandNotSupported],
    ["UDP ASSOCIATE", bytes(5, 3, 0, 1), SOCKS5_REPLY.commandNotSupported],
    ["an unknown address type", bytes(5, 1, 0, 2), SOCKS5_REPLY.addressTypeNotSupported],
    ["another version", bytes(4), SOCKS5_REPLY.generalFailure],
    ["a reserved byte that is set", bytes(5, 1, 1), SOCKS5_REPLY.generalFailure],
    ["an empty name", bytes(5, 1, 0, 3, 0), SOCKS5_REPLY.generalFailure],
    ["port 0", bytes(5, 1, 0, 1, 1, 1, 1, 1, 0, 0), SOCKS5_REPLY.generalFailure],
  ])("with %s is refused", (_name, input, reply) => {
    expect(readSocks5Request(input)).toMatchObject({ kind: "refused", reply });
  });

  it("is decided within the longest message, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: MAX_SOCKS5_MESSAGE, maxLength: MAX_SOCKS5_MESSAGE }), (input) => {
        expect(readSocks5Request(input).kind).not.toBe("more");
        expect(readSocks5Greeting(input).kind).not.toBe("more");
      }),
    );
  });
});

it("a reply has the form that every client can read, and no address of ours", () => {
  expect([...socks5ReplyBytes(SOCKS5_REPLY.notAllowed)]).toEqual([5, 2, 0, 1, 0, 0, 0, 0, 0, 0]);
});
