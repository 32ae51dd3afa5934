import { expect, it } from "vitest";
import { parseSidecarConfig } from "../config/load-sidecar-config.ts";
import { policyOptionsOf } from "./policy-options.ts";

it.each<readonly [string, string, readonly number[] | undefined]>([
  [
    "there is no egress proxy",
    "{ name: a, listen: 127.0.0.1:1, to: [10.0.0.9:2], identity: 'spiffe://x.test/a' }",
    undefined,
  ],
  ["its tunnels lead to no port", "{ name: a, listen: 127.0.0.1:1, forward: { ports: [] } }", []],
  [
    "its tunnels lead to ports and to hosts in the mesh",
    "{ name: a, listen: 127.0.0.1:1, forward: { ports: [443, 80], hosts: { 'b.test:90': 'spiffe://x.test/b' } } }",
    [80, 90, 443],
  ],
])("policies are told where %s", (_name, outbound, expected) => {
  const text = `workload: { namespace: shop }\noutbound: [${outbound}]\n`;
  const { config } = parseSidecarConfig(text, "/c.yaml", { SPIFFE_ENDPOINT_SOCKET: "unix:///run/agent.sock" });
  expect(policyOptionsOf(config, undefined).tunnelPorts).toEqual(expected);
});
