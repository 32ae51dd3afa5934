import { describe, expect, it } from "vitest";
import { parseAskedCall } from "./asked-call.ts";

const read = (call: unknown) => parseAskedCall(JSON.stringify(call));

describe("a request line", () => {
  it("is read whole", () => {
    expect(
      read({
        source: { spiffeId: "spiffe://example.org/ns/shop/sa/web", ip: "::ffff:10.0.0.7", remoteIp: "2001:DB8::1" },
        destination: { ip: "10.0.0.8", port: 8080 },
        connection: { sni: "orders" },
        protocol: "http",
        request: {
          method: "POST",
          host: "orders",
          path: "/x?y",
          headers: { "x-a": " 1 ", "X-B": ["2", "3"] },
          claims: { iss: "i" },
        },
      }),
    ).toEqual({
      direction: "inbound",
      source: { spiffeId: "spiffe://example.org/ns/shop/sa/web", ip: "10.0.0.7", remoteIp: "2001:db8::1" },
      destination: { spiffeId: undefined, ip: "10.0.0.8", port: 8080 },
      sni: "orders",
      timeMs: undefined,
      request: {
        method: "POST",
        host: "orders",
        path: "/x?y",
        headers: ["x-a", "1", "X-B", "2", "X-B", "3"],
        claims: { iss: "i" },
      },
    });
  });

  it("knows nothing of what it does not say", () => {
    expect(read({})).toEqual({
      direction: "inbound",
      source: { spiffeId: undefined, ip: "", remoteIp: undefined },
      destination: { spiffeId: undefined, ip: "", port: undefined },
      sni: "",
      timeMs: undefined,
      request: undefined,
    });
    expect(read({ request: {} }).request).toEqual({
      method: "GET",
      host: undefined,
      path: "/",
      headers: [],
      claims: undefined,
    });
  });

  it.each<[unknown, string]>([
    [[], "the request line is no object"],
    [{ sources: {} }, 'the request line has "sources"'],
    [{ request: { header: {} } }, 'request has "header"'],
    [{ protocol: "tcp", request: {} }, "protocol is tcp, and there is a request"],
    [{ protocol: "http" }, "protocol is http, and there is no request"],
    [{ protocol: "udp" }, "protocol is none of http, tcp"],
    [{ source: { spiffeId: "example.org/x" } }, "source.spiffeId: "],
    [{ source: { ip: "10.0.0.256" } }, 'source.ip "10.0.0.256" is no IP address'],
    [{ destination: { port: "8080" } }, "destination.port is no number"],
    [{ request: { headers: { "a b": "1" } } }, 'request.headers has "a b"'],
    [{ request: { headers: { a: "1\r\nb: 2" } } }, 'request.headers["a"] is no text, or has a line break'],
    [{ request: { headers: { a: 1 } } }, 'request.headers["a"] is no text, or has a line break'],
    [{ request: { claims: "x" } }, "request.claims is no object"],
    [{ time: "noon" }, 'time "noon" is none like'],
    [{ request: { method: 1 } }, "request.method is no text, or too long"],
  ])("%j is refused", (call, why) => {
    expect(() => read(call)).toThrow(why);
  });

  it("that is no JSON is refused", () => {
    expect(() => parseAskedCall("{")).toThrow("it is not JSON");
  });
});
