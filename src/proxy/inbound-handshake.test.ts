import { describe, expect, it } from "vitest";
import { chooseAlpn } from "./inbound-handshake.ts";
import { TUNNEL_ALPN } from "./tunnel-names.ts";

describe("the name that a handshake agrees on", () => {
  const cases: readonly [protocol: Parameters<typeof chooseAlpn>[0], offered: string[], chosen: string | undefined][] =
    [
      ["http", ["http/1.1", "h2"], "h2"],
      ["http", ["http/1.1"], "http/1.1"],
      ["http", ["postgresql"], undefined],
      ["http", ["h2", TUNNEL_ALPN], TUNNEL_ALPN],
      ["http1", ["h2"], "h2"],
      ["auto", ["http/1.1", "h2"], "h2"],
      ["auto", ["postgresql", "http/1.1"], "http/1.1"],
      ["auto", ["postgresql", "redis"], "postgresql"],
      ["tcp", ["postgresql", "h2"], "postgresql"],
      ["tcp", ["h2", TUNNEL_ALPN], TUNNEL_ALPN],
    ];
  for (const [protocol, offered, chosen] of cases) {
    it(`of ${offered.join(", ")} on a listener of ${protocol} is ${chosen ?? "none: the handshake fails"}`, () => {
      expect(chooseAlpn(protocol, offered)).toBe(chosen);
    });
  }
});
