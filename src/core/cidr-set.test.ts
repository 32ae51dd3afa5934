import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cidrSet } from "./cidr-set.ts";
import { type Cidr, type IpAddress, parseCidr, parseIpAddress } from "./ip-address.ts";

function block(text: string): Cidr {
  const parsed = parseCidr(text);
  if (parsed === undefined) throw new Error(`not a block: ${text}`);
  return parsed;
}
function address(text: string): IpAddress {
  const parsed = parseIpAddress(text);
  if (parsed === undefined) throw new Error(`not an address: ${text}`);
  return parsed;
}

describe("cidrSet", () => {
  it.each([
    [["10.0.0.0/8"], "10.255.0.1", true],
    [["10.0.0.0/8"], "11.0.0.0", false],
    [["10.0.0.0/8"], "::ffff:10.0.0.1", true],
    [["10.0.0.1"], "10.0.0.1", true],
    [["10.0.0.1"], "10.0.0.0", false],
    [["0.0.0.0/0"], "1.2.3.4", true],
    [["0.0.0.0/0"], "::1", false],
    [["::/0"], "1.2.3.4", false],
    [["2001:db8::/32"], "2001:db8:ffff::1", true],
    [["2001:db8::/32"], "2001:db9::1", false],
    [["10.0.0.0/8", "10.1.0.0/16"], "10.2.0.0", true],
    [["10.1.0.0/16", "10.0.0.0/8"], "10.2.0.0", true],
    [["10.1.0.0/16", "192.168.0.0/24", "::1"], "::1", true],
    [[], "10.0.0.1", false],
  ])("%j has %s: %s", (blocks, ip, inside) => {
    expect(cidrSet(blocks.map(block)).has(address(ip))).toBe(inside);
  });

  it("agrees with a scan over the blocks", () => {
    const anyBlock = fc
      .tuple(fc.oneof(fc.ipV4(), fc.ipV6()), fc.nat(128))
      .map(([ip, bits]) =>
        block(`${ip}/${address(ip).family === 4 ? (ip.includes(":") ? 96 + (bits % 33) : bits % 33) : bits}`),
      );
    const matches = (candidate: Cidr, ip: IpAddress) =>
      candidate.family === ip.family &&
      Array.from({ length: candidate.prefixBits }, (_, bit) => bit).every(
        (bit) => (((candidate.words[bit >>> 5] ?? 0) ^ (ip.words[bit >>> 5] ?? 0)) & (1 << (31 - (bit & 31)))) === 0,
      );
    fc.assert(
      fc.property(
        fc.array(anyBlock, { maxLength: 12 }),
        fc.oneof(fc.ipV4(), fc.ipV6()),
        fc.nat(31),
        (blocks, text, flip) => {
          const set = cidrSet(blocks);
          const near = blocks.map((b) => ({ ...b, words: b.words.map((w) => (w ^ (1 << flip)) >>> 0) }));
          for (const ip of [address(text), ...blocks, ...near])
            expect(set.has(ip)).toBe(blocks.some((candidate) => matches(candidate, ip)));
        },
      ),
    );
  });
});
