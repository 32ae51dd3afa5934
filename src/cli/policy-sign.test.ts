import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { policyWorkspace } from "../../test/support/policy-workspace.ts";
import { parsePolicySignature, readPolicyKey, verifyPolicies } from "../config/policy-signature.ts";

it("writes a signature that sidecars believe", async () => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const { folder, policy } = policyWorkspace({
    "orders.yaml": "a: 1\n",
    "p.key": privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  });
  const signed = await policy("sign", "orders.yaml", "--key", "p.key", "--policy-version", "7");
  expect(signed).toEqual({ code: 0, out: "orders.yaml.sig: version 7\n", err: "" });
  const signature = parsePolicySignature(readFileSync(join(folder, "orders.yaml.sig"), "utf8"));
  const key = readPolicyKey(publicKey.export({ type: "spki", format: "pem" }).toString(), "");
  expect(() => verifyPolicies("a: 1\n", "orders.yaml", signature, key)).not.toThrow();
});

it.each<[readonly string[], string]>([
  [["orders.yaml", "--key", "gone", "--policy-version", "1"], "gone: E_CONFIG_FILE does not exist"],
  [["orders.yaml", "--key", "orders.yaml", "--policy-version", "1"], "this is no private Ed25519 key"],
  [["orders.yaml", "--key", "p.key", "--policy-version", "0"], "--policy-version is no number"],
])("refuses %j", async (argv, why) => {
  const { policy } = policyWorkspace({ "orders.yaml": "secret: hunter2\n", "p.key": "" });
  const { code, err } = await policy("sign", ...argv);
  expect(code).toBe(2);
  expect(err).toContain(why);
  expect(err).not.toContain("hunter2");
});
