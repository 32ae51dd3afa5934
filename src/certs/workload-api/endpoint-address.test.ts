import { expect, test } from "vitest";
import { grpcTarget } from "./endpoint-address.ts";

test.each([
  ["unix:///run/spire/agent.sock", "unix:///run/spire/agent.sock"],
  ["unix:///a b/c", "unix:///a b/c"],
  ["tcp://127.0.0.1:8081", "ipv4:127.0.0.1:8081"],
  ["tcp://127.9.9.9:1", "ipv4:127.9.9.9:1"],
  ["tcp://[::1]:8081", "ipv6:[::1]:8081"],
])("%s is dialled as %s", (address, target) => {
  expect(grpcTarget(address)).toBe(target);
});

test.each([
  ["", "neither unix:// nor tcp://"],
  ["/run/spire/agent.sock", "neither unix:// nor tcp://"],
  ["http://127.0.0.1:80", "neither unix:// nor tcp://"],
  ["UNIX:///run/agent.sock", "neither unix:// nor tcp://"],
  ["unix://tmp/agent.sock", "three slashes"],
  ["unix:/tmp/agent.sock", "three slashes"],
  ["unix:tmp/agent.sock", "three slashes"],
  ["unix:///", "no path"],
  ["unix:///tmp/agent.sock?x=1", "query"],
  ["unix:///tmp/agent.sock#x", "fragment"],
  ["unix:///tmp/agent%20.sock", "percent"],
  [`unix:///${"x".repeat(107)}`, "107 bytes"],
  ["tcp://localhost:8081", "not tcp://IP:port"],
  ["tcp://127.0.0.1", "not tcp://IP:port"],
  ["tcp://127.0.0.1:0", "not tcp://IP:port"],
  ["tcp://127.0.0.1:65536", "not tcp://IP:port"],
  ["tcp://127.0.0.1:80/x", "not tcp://IP:port"],
  ["tcp://127.1:80", "not tcp://IP:port"],
  ["tcp://10.0.0.1:8081", "beyond loopback"],
  ["tcp://[::]:8081", "beyond loopback"],
])("%j is refused: %s", (address, reason) => {
  expect(() => grpcTarget(address)).toThrow(
    expect.objectContaining({ code: "E_WORKLOAD_API_ADDRESS", message: expect.stringContaining(reason) }),
  );
});

test("a path with two slashes gets the right address as its fix", () => {
  expect(() => grpcTarget("unix://tmp/agent.sock")).toThrow(
    expect.objectContaining({ fix: 'write "unix:///tmp/agent.sock"' }),
  );
});
