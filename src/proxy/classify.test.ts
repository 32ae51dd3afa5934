import { describe, expect, it } from "vitest";
import { classifyFirstBytes, type FirstBytes } from "./classify.ts";

const table: readonly [string, FirstBytes][] = [
  ["", "more"],
  ["\x16", "more"],
  ["\x16\x03\x01\x02\x00", "tls"],
  ["\x16\x04", "opaque"],
  ["G", "more"],
  ["GET", "more"],
  ["GET ", "more"],
  ["GET /", "http1"],
  ["OPTIONS *", "http1"],
  ["GET http://a/", "http1"],
  ["CONNECT [::1]:1", "http1"],
  ["M-SEARCH * HTTP/1.1", "http1"],
  ["P", "more"],
  ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r", "more"],
  ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http2"],
  ["PRI * HTTP/2.0\r\n\r\nXX", "http1"],
  ["get /", "opaque"],
  ["SSH-2.0-OpenSSH_9.6\r\n", "opaque"],
  ["\x00\x00\x00\x08\x04\xd2\x16\x2f", "opaque"],
  ["*1\r\n$4\r\nPING\r\n", "opaque"],
  ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "opaque"],
  ["GET \x01", "opaque"],
];

describe("classifyFirstBytes", () => {
  it.each(table)("reads %j as %s", (text, expected) => {
    expect(classifyFirstBytes(Buffer.from(text, "latin1"))).toBe(expected);
  });

  it("never changes its mind when more bytes come", () => {
    for (const [text] of table) {
      const whole = Buffer.from(text, "latin1");
      let settled: FirstBytes = "more";
      for (let n = 1; n <= whole.length; n++) {
        const now = classifyFirstBytes(whole.subarray(0, n));
        if (settled !== "more") expect([text, n, now]).toEqual([text, n, settled]);
        settled = now;
      }
    }
  });
});
