import { describe, expect, it } from "vitest";
import { meshHostKey } from "../../config/forward-shape.ts";
import { destinationText } from "../../core/egress-target.ts";
import { CountersignError } from "../../core/errors.ts";
import { type Destination, makeDestination, readDestination } from "./destination.ts";

const NO_RULES = { hosts: new Map(), addresses: [], ports: [] };
const read = (authority: string, port?: number) => readDestination(authority, port, NO_RULES);
const shown = (read: Destination | CountersignError): string =>
  read instanceof CountersignError ? read.code : destinationText(read);

describe("a destination is read in one way or not at all", () => {
  it.each([
    ["api.test", 80, "api.test:80"],
    ["api.test:8080", 80, "api.test:8080"],
    ["API.Test.:443", undefined, "api.test:443"],
    ["a_b.test:1", undefined, "a_b.test:1"],
    ["192.0.2.1:65535", undefined, "192.0.2.1:65535"],
    ["[2001:DB8:0:0::1]:443", undefined, "[2001:db8::1]:443"],
    ["[::ffff:192.0.2.1]:443", undefined, "192.0.2.1:443"],
    ["1e100.net", 80, "1e100.net:80"],
    ["x.0xyz", 80, "x.0xyz:80"],
  ])("%s", (authority, port, expected) => {
    expect(shown(read(authority, port))).toBe(expected);
  });

  it.each([
    "api.test",
    "api.test:0",
    "api.test:65536",
    "api.test:",
    ":443",
    "",
    "a b:443",
    "a..b:443",
    ".a:443",
    "..:443",
    "user@api.test:443",
    "api.test/x:443",
    "api.test:443:443",
    "::1:443",
    "[::1:443",
    "[fe80::1%25eth0]:443",
    "[1.2.3.4]:443",
    "[12345::]:443",
    "127.1:443",
    "2130706433:443",
    "0x7f000001:443",
    "0x7f.0.0.1:443",
    "0177.0.0.1:443",
    "127.0.0.01:443",
    "256.0.0.1:443",
    "1.2.3.4.:443",
    "x.0x:443",
    "x.7:443",
    `${"a".repeat(254)}:443`,
    "ünï.test:443",
    "a%2eb:443",
  ])("not %j", (authority) => {
    expect(shown(read(authority))).toBe("E_EGRESS_TARGET");
  });
});

it("a destination in the mesh is found by any spelling of its name, and on its port alone", () => {
  const host = { host: "Orders.shop.", port: 15006, identity: [] as never };
  const rules = { ...NO_RULES, hosts: new Map([[meshHostKey(host.host, host.port), host]]) };
  for (const spelling of ["orders.shop:15006", "ORDERS.SHOP.:15006"]) {
    expect(readDestination(spelling, undefined, rules)).toMatchObject({ mesh: host });
  }
  expect(readDestination("orders.shop:443", undefined, rules)).toMatchObject({ mesh: undefined });
  expect(makeDestination("orders.shop", 15006, rules, false)).toMatchObject({ mesh: host });
});
