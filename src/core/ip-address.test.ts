import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalIpAddress, formatIpAddress, parseCidr, parseIpAddress } from "./ip-address.ts";

describe("parseIpAddress", () => {
  it.each([
    ["0.0.0.0", "0.0.0.0"],
    ["255.255.255.255", "255.255.255.255"],
    ["10.1.2.3", "10.1.2.3"],
    ["::", "::"],
    ["::1", "::1"],
    ["2001:DB8::0:1", "2001:db8::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["1:0:3:4:5:6:7:8", "1:0:3:4:5:6:7:8"],
    ["1::", "1::"],
    ["64:ff9b::192.0.2.1", "64:ff9b::c000:201"],
    ["::ffff:10.1.2.3", "10.1.2.3"],
    ["::FFFF:0a01:0203", "10.1.2.3"],
    ["0:0:0:0:0:ffff:10.1.2.3", "10.1.2.3"],
  ])("reads %s as %s", (text, canonical) => {
    const address = parseIpAddress(text);
    expect(address === undefined ? undefined : formatIpAddress(address)).toBe(canonical);
  });

  it.each([
    "",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "01.2.3.4",
    "1..3.4",
    "1.2.3.4 ",
    "0x1.2.3.4",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7::8",
    "12345::",
    "g::",
    "::1.2.3.4:5",
    "fe80::1%eth0",
    "[::1]",
    "localhost",
  ])("refuses %j", (text) => {
    expect(parseIpAddress(text)).toBeUndefined();
  });

  it("reads back whatever it formats", () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
        const address = parseIpAddress(text);
        if (address === undefined) throw new Error(`refused ${text}`);
        expect(parseIpAddress(formatIpAddress(address))).toEqual(address);
      }),
    );
  });
});

describe("parseCidr", () => {
  it.each([
    ["10.1.2.3", "10.1.2.3", 32],
    ["10.1.2.3/8", "10.0.0.0", 8],
    ["0.0.0.0/0", "0.0.0.0", 0],
    ["2001:db8:1:2::/33", "2001:db8::", 33],
    ["::/0", "::", 0],
    ["::ffff:10.1.0.0/112", "10.1.0.0", 16],
    ["::ffff:10.1.2.3", "10.1.2.3", 32],
  ])("reads %s as %s/%i", (text, base, prefixBits) => {
    const block = parseCidr(text);
    expect(block?.prefixBits).toBe(prefixBits);
    expect(block === undefined ? undefined : formatIpAddress(block)).toBe(base);
  });

  it.each([
    "",
    "/",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/08",
    "10.0.0.0/8/8",
    "::/129",
    "::ffff:1.2.3.4/95",
    "x/8",
  ])("refuses %j", (text) => {
    expect(parseCidr(text)).toBeUndefined();
  });
});

describe("canonicalIpAddress", () => {
  it.each([
    ["::ffff:127.0.0.1", "127.0.0.1"],
    ["fe80::1%eth0", "fe80::1"],
    ["127.0.0.1", "127.0.0.1"],
    ["/run/x.sock", undefined],
  ])("writes %s as %s", (text, canonical) => {
    expect(canonicalIpAddress(text)).toBe(canonical);
  });
});
