import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cidrSet } from "../core/cidr-set.ts";
import { parseCidr, parseIpAddress } from "../core/ip-address.ts";
import { addressDigits, blockDigits } from "./address-digits.ts";

const digitsOf = (text: string) => addressDigits(parseIpAddress(text));
const beginningsOf = (text: string) => {
  const block = parseCidr(text);
  return block === undefined ? undefined : blockDigits(block);
};

describe("digits of addresses", () => {
  it.each([
    ["10.0.0.1", "40a000001"],
    ["255.255.255.255", "4ffffffff"],
    ["::ffff:10.0.0.1", "40a000001"],
    ["2001:db8::1", "620010db8000000000000000000000001"],
    ["", ""],
  ])("of %s are %s", (text, digits) => {
    expect(digitsOf(text)).toBe(digits);
  });

  it.each([
    ["0.0.0.0/0", ["4"]],
    ["::/0", ["6"]],
    ["10.0.0.0/8", ["40a"]],
    ["10.0.0.7", ["40a000007"]],
    ["10.0.0.0/7", ["40a", "40b"]],
    ["192.168.0.0/14", ["4c0a8", "4c0a9", "4c0aa", "4c0ab"]],
    ["128.0.0.0/1", ["48", "49", "4a", "4b", "4c", "4d", "4e", "4f"]],
  ])("of the block %s begin so: %j", (text, beginnings) => {
    expect(beginningsOf(text)).toEqual(beginnings);
  });

  it("begin like those of a block just when the block has the address", () => {
    const octets = fc.tuple(fc.nat(3), fc.nat(255), fc.nat(255), fc.nat(255)).map((all) => all.join("."));
    const v6 = fc.tuple(fc.nat(0xffff), fc.nat(0xffff)).map(([a, b]) => `${a.toString(16)}::${b.toString(16)}`);
    const cases = fc.oneof(
      fc.record({ address: octets, of: octets, bits: fc.nat(32) }),
      fc.record({ address: v6, of: v6, bits: fc.nat(128) }),
      fc.record({ address: octets, of: v6, bits: fc.nat(128) }),
    );
    fc.assert(
      fc.property(cases, ({ address, of, bits }) => {
        const block = parseCidr(`${of}/${bits}`);
        const one = parseIpAddress(address);
        if (block === undefined || one === undefined) throw new TypeError("not generated so");
        const begins = blockDigits(block).some((digits) => addressDigits(one).startsWith(digits));
        expect(begins).toBe(cidrSet([block]).has(one));
      }),
      { numRuns: 2_000 },
    );
  });
});
