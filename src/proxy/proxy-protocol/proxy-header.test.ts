import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { crc32c } from "./crc32c.ts";
import { readProxyHeader } from "./read-proxy-header.ts";
import { writeProxyHeader } from "./write-proxy-header.ts";

const latin1 = (text: string): Uint8Array => Buffer.from(text, "latin1");
const SIGNATURE = [0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
const v2 = (command: number, family: number, content: readonly number[]): Uint8Array =>
  Uint8Array.from([...SIGNATURE, command, family, content.length >>> 8, content.length & 255, ...content]);
const IPV4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x1f, 0x90, 0x01, 0xbb];

function withChecksum(wrong = 0): Uint8Array {
  const header = v2(0x21, 0x11, [...IPV4, 3, 0, 4, 0, 0, 0, 0]);
  new DataView(header.buffer).setUint32(header.length - 4, crc32c(header) ^ wrong);
  return header;
}

describe("a header is read", () => {
  it.each([
    ["version 1, IPv4", latin1("PROXY TCP4 192.0.2.7 198.51.100.1 8080 443\r\n"), { ip: "192.0.2.7", port: 8080 }],
    ["version 1, IPv6", latin1("PROXY TCP6 2001:DB8::7 2001:db8::1 8080 443\r\n"), { ip: "2001:db8::7", port: 8080 }],
    ["version 1, IPv4-mapped", latin1("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n"), { ip: "192.0.2.7", port: 1 }],
    ["version 1, unknown", latin1("PROXY UNKNOWN\r\n"), undefined],
    ["version 1, unknown with more", latin1("PROXY UNKNOWN ff:: ::1 1 2\r\n"), undefined],
    ["version 2, IPv4", v2(0x21, 0x11, IPV4), { ip: "192.0.2.7", port: 8080 }],
    [
      "version 2, IPv6",
      v2(0x21, 0x21, [0x20, 1, 0x0d, 0xb8, ...Array.from({ length: 28 }, () => 0), 0, 80, 0, 1]),
      { ip: "2001:db8::", port: 80 },
    ],
    ["version 2, local", v2(0x20, 0, []), undefined],
    [
      "version 2, a Unix socket",
      v2(
        0x21,
        0x31,
        Array.from({ length: 216 }, () => 0),
      ),
      undefined,
    ],
    ["version 2, with a TLV", v2(0x21, 0x11, [...IPV4, 0xea, 0, 1, 9]), { ip: "192.0.2.7", port: 8080 }],
    ["version 2, with its checksum", withChecksum(), { ip: "192.0.2.7", port: 8080 }],
  ])("%s", (_name, header, source) => {
    const input = Uint8Array.from([...header, ...latin1("GET /")]);
    expect(readProxyHeader(input)).toEqual({ kind: "header", used: header.length, source });
    for (let length = 0; length < header.length; length++) {
      expect(readProxyHeader(input.subarray(0, length)).kind, `${length} bytes`).toBe("more");
    }
  });

  it.each([
    ["TLS", Uint8Array.of(22, 3, 1)],
    ["HTTP", latin1("GET / HTTP/1.1\r\n")],
    ["a method that begins alike", latin1("PROXYFIND / HTTP/1.1\r\n")],
    ["an empty line", latin1("\r\nGET /")],
  ])("and %s is none", (_name, input) => {
    expect(readProxyHeader(input)).toEqual({ kind: "none" });
  });
});

describe("a header is malformed", () => {
  it.each([
    ["with a bare LF", latin1("PROXY TCP4 192.0.2.7 198.51.100.1 8080 443\n")],
    ["with another family", latin1("PROXY UDP4 192.0.2.7 198.51.100.1 8080 443\r\n")],
    ["with an address of the other family", latin1("PROXY TCP4 ::1 198.51.100.1 8080 443\r\n")],
    ["with a leading zero in an address", latin1("PROXY TCP4 192.0.02.7 198.51.100.1 8080 443\r\n")],
    ["with a leading zero in a port", latin1("PROXY TCP4 192.0.2.7 198.51.100.1 08080 443\r\n")],
    ["with a port above 65535", latin1("PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n")],
    ["with two spaces", latin1("PROXY TCP4  192.0.2.7 198.51.100.1 8080 443\r\n")],
    ["with more words", latin1("PROXY TCP4 192.0.2.7 198.51.100.1 8080 443 x\r\n")],
    ["without an end", latin1(`PROXY UNKNOWN ${"x".repeat(200)}`)],
    ["with a late end", latin1(`PROXY UNKNOWN ${"x".repeat(100)}\r\n`)],
    ["of version 3", v2(0x31, 0x11, IPV4)],
    ["with an unknown command", v2(0x22, 0x11, IPV4)],
    ["with an unknown family", v2(0x21, 0x41, IPV4)],
    ["too short for its addresses", v2(0x21, 0x11, IPV4.slice(1))],
    ["with a TLV that leads out", v2(0x21, 0x11, [...IPV4, 4, 0, 9, 1])],
    ["with a TLV that is cut off", v2(0x21, 0x11, [...IPV4, 4, 0])],
    ["with a wrong checksum", withChecksum(1)],
    ["with a checksum of another length", v2(0x21, 0x11, [...IPV4, 3, 0, 1, 1])],
    [
      "above the bound",
      v2(
        0x21,
        0x11,
        Array.from({ length: 5000 }, () => 0),
      ),
    ],
  ])("%s", (_name, input) => {
    expect(readProxyHeader(input)).toMatchObject({ kind: "malformed" });
  });

  it("or not, but no bytes make reading fail or wait for ever", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
        readProxyHeader(noise);
        readProxyHeader(Uint8Array.from([...latin1("PROXY TCP4 "), ...noise]));
        readProxyHeader(v2(0x21, 0x11, [...noise]));
      }),
    );
    expect(readProxyHeader(latin1(`PROXY ${"x".repeat(101)}`)).kind).toBe("malformed");
  });
});

describe("a header that is written is read as what it says", () => {
  const ends = [
    ["192.0.2.7", "198.51.100.1"],
    ["2001:db8::7", "2001:db8::1"],
  ] as const;
  it.each(ends.flatMap(([from, to]) => [["v1", from, to] as const, ["v2", from, to] as const]))(
    "%s from %s",
    (version, from, to) => {
      const header = writeProxyHeader(version, { ip: from, port: 50_000 }, { ip: to, port: 443 });
      expect(readProxyHeader(header)).toEqual({
        kind: "header",
        used: header.length,
        source: { ip: from, port: 50_000 },
      });
    },
  );

  it.each(["v1", "v2"] as const)("%s, also where the ends are not known", (version) => {
    for (const [from, to] of [
      ["", "192.0.2.1"],
      ["::1", "192.0.2.1"],
    ] as const) {
      const header = writeProxyHeader(version, { ip: from, port: 1 }, { ip: to, port: 2 });
      expect(readProxyHeader(header)).toEqual({ kind: "header", used: header.length, source: undefined });
    }
  });
});

it("the checksum is the one of RFC 3720 appendix B.4", () => {
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index))).toBe(0x46dd794e);
});
