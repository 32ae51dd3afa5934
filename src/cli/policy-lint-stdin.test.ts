import { expect, it } from "vitest";
import { policyWorkspace } from "../../test/support/policy-workspace.ts";
import { runCommand } from "../../test/support/run-command.ts";
import { chunksOf } from "../../test/support/text-chunks.ts";
import { run } from "./policy.ts";

const POLICY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: a, namespace: shop }
spec: { rules: [{ to: [{ operation: { methods: [GTE], ports: [8080] } }] }] }
`;
const lint = (text: string, ...more: string[]) => {
  const { folder } = policyWorkspace({ "policies/broken.yaml": "{" });
  const argv = ["lint", "-c", "c.yaml", "--trust-domain", "example.org", "-", ...more];
  return runCommand(run, argv, folder, {}, chunksOf(text));
};

it("lints what comes by the standard input, and nothing else", async () => {
  const { code, out } = await lint(POLICY);
  expect(code).toBe(2);
  expect(out).toMatch(/standard input:4:\d+/);
  expect(out).not.toContain("broken.yaml");
});

it("reads no more of it than of a file", async () => {
  const { code, err } = await lint("#".repeat(5 * 2 ** 20));
  expect([code, err]).toEqual([2, expect.stringContaining("standard input: E_CONFIG_FILE is larger than")]);
});

it("fixes nothing there", async () => {
  const { code, err } = await lint(POLICY, "--fix");
  expect([code, err]).toEqual([2, expect.stringContaining("--fix changes files, and a pipe is none")]);
});
