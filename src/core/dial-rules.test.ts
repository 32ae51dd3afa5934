import { describe, expect, it } from "vitest";
import { createDialRules, type DialRules } from "./dial-rules.ts";
import { type Cidr, type IpAddress, parseCidr, parseIpAddress } from "./ip-address.ts";

function address(text: string): IpAddress {
  const parsed = parseIpAddress(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
}

function block(text: string): Cidr {
  const parsed = parseCidr(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
}

const OWN = ["203.0.113.7", "2001:db8::7"].map(address);
const rules = (allowed: readonly string[] = []): DialRules =>
  createDialRules({
    ownAddresses: OWN,
    ownListeners: [
      { address: undefined, port: 15006 },
      { address: address("127.0.0.1"), port: 3128 },
    ],
    allowed: allowed.map(block),
  });

const SPECIAL_IPV4: readonly (readonly [address: string, says: string])[] = [
  ["0.0.0.0", "this machine"],
  ["0.1.2.3", "this machine"],
  ["127.0.0.1", "loopback"],
  ["127.255.255.255", "loopback"],
  ["169.254.169.254", "metadata"],
  ["169.254.170.2", "credentials"],
  ["169.254.0.1", "link-local"],
  ["10.0.0.0", "private"],
  ["10.255.255.255", "private"],
  ["172.16.0.0", "private"],
  ["172.31.255.255", "private"],
  ["192.168.0.1", "private"],
  ["192.168.255.255", "private"],
  ["100.100.100.200", "metadata"],
  ["100.64.0.1", "shared"],
  ["168.63.129.16", "host service"],
  ["192.0.0.192", "metadata"],
  ["224.0.0.1", "multicast"],
  ["239.255.255.255", "multicast"],
  ["240.0.0.1", "reserved"],
  ["255.255.255.255", "reserved"],
  ["203.0.113.7", "an address of this machine"],
];

const SPECIAL_IPV6: readonly (readonly [address: string, says: string])[] = [
  ["::", "this machine"],
  ["::1", "loopback"],
  ["fe80::1", "link-local"],
  ["febf::1", "link-local"],
  ["fec0::1", "private"],
  ["fc00::1", "private"],
  ["fdff::1", "private"],
  ["fd00:ec2::254", "metadata"],
  ["fd00:ec2:1::1", "metadata"],
  ["fd20:ce::254", "metadata"],
  ["ff02::1", "multicast"],
  ["64:ff9b:1::1", "local translation"],
  ["2001:0:1::1", "Teredo"],
  ["2001:db8::7", "an address of this machine"],
];

const OPEN = [
  "1.1.1.1",
  "8.8.8.8",
  "9.255.255.255",
  "11.0.0.0",
  "100.63.255.255",
  "100.128.0.0",
  "126.255.255.255",
  "128.0.0.1",
  "168.63.129.15",
  "169.253.255.255",
  "172.15.255.255",
  "172.32.0.0",
  "192.167.255.255",
  "192.169.0.0",
  "203.0.113.8",
  "223.255.255.255",
  "2001:db8::8",
  "2606:4700::1111",
  "64:ff9b::1.1.1.1",
  "2002:101:101::1",
  "::ffff:1.1.1.1",
];

function hexWords(ipv4: string): string {
  const word = address(ipv4).words[0] ?? 0;
  return `${(word >>> 16).toString(16)}:${(word & 0xffff).toString(16)}`;
}

describe("what may not be dialled", () => {
  it.each([...SPECIAL_IPV4, ...SPECIAL_IPV6])("%s is refused: %s", (text, says) => {
    expect(rules()(address(text), 443)).toContain(says);
  });

  it.each(SPECIAL_IPV4)("%s is refused in IPv4-mapped, NAT64, 6to4, compatible and translated form", (text, says) => {
    for (const form of [`::ffff:${text}`, `64:ff9b::${text}`, `2002:${hexWords(text)}::1`, `::ffff:0:${text}`]) {
      expect(rules()(address(form), 443), form).toContain(says);
    }
    if (text !== "0.0.0.0") expect(rules()(address(`::${text}`), 443)).toContain(says);
  });

  it("a form that carries IPv4 is named in the reason", () => {
    expect(rules()(address("64:ff9b::a9fe:a9fe"), 443)).toBe(
      "64:ff9b::a9fe:a9fe is 169.254.169.254 in NAT64 form: a cloud's metadata service",
    );
  });
});

describe("what may be dialled", () => {
  it.each(OPEN)("%s", (text) => {
    expect(rules()(address(text), 443)).toBeUndefined();
  });

  it.each([
    ["10.1.2.3", "10.0.0.0/8"],
    ["::ffff:10.1.2.3", "10.0.0.0/8"],
    ["127.0.0.1", "127.0.0.0/8"],
    ["::1", "::1"],
    ["203.0.113.7", "203.0.113.7"],
    ["64:ff9b::10.1.2.3", "64:ff9b::a00:0/104"],
    ["169.254.169.254", "169.254.169.254/32"],
  ])("%s where %s is listed", (text, listed) => {
    expect(rules([listed])(address(text), 443)).toBeUndefined();
  });

  it.each([
    ["10.1.2.3", "10.2.0.0/16"],
    ["64:ff9b::10.1.2.3", "10.0.0.0/8"],
    ["2002:a01:203::1", "10.0.0.0/8"],
    ["::1", "127.0.0.0/8"],
  ])("but not %s where only %s is", (text, listed) => {
    expect(rules([listed])(address(text), 443)).toBeDefined();
  });
});

describe("our own listeners", () => {
  it.each([
    ["127.0.0.1", 3128],
    ["::ffff:127.0.0.1", 3128],
    ["0.0.0.0", 3128],
    ["::", 3128],
    ["127.0.0.9", 15006],
    ["0.0.0.0", 15006],
    ["::1", 15006],
    ["::", 15006],
    ["203.0.113.7", 15006],
    ["2001:db8::7", 15006],
    ["64:ff9b::203.0.113.7", 15006],
  ])("%s:%d is refused even where every address is listed", (text, port) => {
    expect(rules(["0.0.0.0/0", "::/0"])(address(text), port)).toContain("a listener of this sidecar");
  });

  it.each([
    ["127.0.0.2", 3128],
    ["127.0.0.1", 8080],
    ["1.1.1.1", 15006],
  ])("%s:%d is none", (text, port) => {
    expect(rules(["127.0.0.0/8"])(address(text), port)).toBeUndefined();
  });
});
