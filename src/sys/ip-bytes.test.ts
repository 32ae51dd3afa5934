import { describe, expect, it } from "vitest";
import { ipBytes } from "./ip-bytes.ts";

describe("ipBytes", () => {
  it.each([
    ["127.0.0.1", "7f000001"],
    ["255.1.0.9", "ff010009"],
    ["::ffff:127.0.0.1", "7f000001"],
    ["::ffff:7f00:1", "7f000001"],
    ["::1", "00000000000000000000000000000001"],
    ["::", "00000000000000000000000000000000"],
    ["fe80::1%lo", "fe800000000000000000000000000001"],
    ["2001:db8:0:1:2:3:4:5", "20010db8000000010002000300040005"],
    ["2001:db8::5:0", "20010db8000000000000000000050000"],
    ["64:ff9b::192.0.2.1", "0064ff9b0000000000000000c0000201"],
  ])("reads %s", (text, hex) => {
    expect(Buffer.from(ipBytes(text)).toString("hex")).toBe(hex);
  });

  it.each(["", "localhost", "1.2.3", "::g", "127.0.0.1:80"])("refuses %j", (text) => {
    expect(() => ipBytes(text)).toThrow(TypeError);
  });
});
