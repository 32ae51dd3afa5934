import { describe, expect, it } from "vitest";
import { cidrSet } from "../core/cidr-set.ts";
import { parseCidr } from "../core/ip-address.ts";
import { clientAddress } from "./client-address.ts";

const trusted = cidrSet(["10.0.0.0/8", "fd00::/8"].flatMap((text) => parseCidr(text) ?? []));

describe("clientAddress", () => {
  it.each([
    ["the only entry", "203.0.113.7", "203.0.113.7"],
    ["the first from the right that is no trusted proxy", "1.1.1.1, 203.0.113.7, 10.2.0.1", "203.0.113.7"],
    ["what the caller forged is never reached", "127.0.0.1, 203.0.113.7", "203.0.113.7"],
    ["the leftmost when all are trusted", "10.0.0.3, 10.0.0.2", "10.0.0.3"],
    ["the last good one before a malformed entry", "203.0.113.7, nonsense, 10.0.0.2", "10.0.0.2"],
    ["the TCP peer when the last entry is malformed", "203.0.113.7, unknown", "10.0.0.1"],
    ["the TCP peer for an empty field", "", "10.0.0.1"],
    ["an entry with a port is malformed", "203.0.113.7:443", "10.0.0.1"],
    ["an IPv4 entry with a zone is malformed", "192.0.2.1%zone, 10.1.1.1", "10.1.1.1"],
    ["an IPv6 entry with a zone is malformed", "203.0.113.7, fe80::1%eth0", "10.0.0.1"],
    ["IPv4-mapped IPv6 as IPv4", "::ffff:203.0.113.7", "203.0.113.7"],
    ["IPv6 through trusted IPv6", "2001:DB8::1,fd00::2", "2001:db8::1"],
    ["a trailing comma is malformed", "203.0.113.7,", "10.0.0.1"],
    ["a leading comma ends the walk", ",10.0.0.9", "10.0.0.9"],
  ])("is %s", (_, forwardedFor, expected) => {
    expect(clientAddress("10.0.0.1", forwardedFor, trusted)).toBe(expected);
  });
});
