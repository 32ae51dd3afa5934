import { expect, it } from "vitest";
import { parseSidecarConfig } from "../config/load-sidecar-config.ts";
import type { SourceFile } from "../config/policy-source.ts";
import { parseTrustDomain } from "../core/spiffe-id.ts";
import { createSidecarPolicies } from "./sidecar-policies.ts";

const text = `workload: { namespace: shop }
policies: [p.yaml]
inbound: [{ name: in, listen: "127.0.0.1:15006", app: "127.0.0.1:8080", protocol: http }]
`;
const env = { SPIFFE_ENDPOINT_SOCKET: "unix:///run/agent.sock" };
const { config } = parseSidecarConfig(text, "/c.yaml", env);
const policies = (path: string): readonly SourceFile[] => [
  {
    file: "p.yaml",
    text: `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: p, namespace: shop }
spec: { rules: [{ to: [{ operation: { paths: [${path}] } }] }] }
`,
  },
];

it("compiles nothing anew that is what it was", async () => {
  let nowMs = 1;
  const held = await createSidecarPolicies(config, policies("/a"), () => nowMs);
  const { policy } = held.state;
  nowMs = 2;
  const same = await held.prepare({ files: policies("/a"), config });
  expect(same.policy).toBe(policy);
  same.commit();
  expect(held.state).toMatchObject({ policy, loadedAtMs: 2 });
});

it.each([
  ["other files", { files: policies("/b") }],
  ["another configuration", { config: parseSidecarConfig(text, "/c.yaml", env).config }],
  ["another trust domain", { localTrustDomain: parseTrustDomain("example.org") }],
])("compiles %s, in force from the commit on", async (_what, change) => {
  const held = await createSidecarPolicies(config, policies("/a"), () => 1);
  const { policy } = held.state;
  const next = await held.prepare(change);
  expect([next.policy === policy, held.state.policy === policy]).toEqual([false, true]);
  next.commit();
  expect(held.state.policy).toBe(next.policy);
  // and what was committed is what the next change stands on
  expect((await held.prepare(change)).policy).toBe(next.policy);
});
