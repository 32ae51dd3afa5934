import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { jwtRulesFor } from "../../src/authz/authentication.ts";
import { loadPolicies } from "../../src/authz/load-policies.ts";
import { policyOptionsOf } from "../../src/cli/policy-options.ts";
import { parseSidecarConfig } from "../../src/config/load-sidecar-config.ts";
import { errorCodes } from "../../src/core/error-codes.ts";
import { parseTrustDomain } from "../../src/core/spiffe-id.ts";
import "../../src/authz/use-cel.ts";

const page = readFileSync(join(import.meta.dirname, "../../docs/request-authentication.md"), "utf8");
const examples = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text = ""]) => text);
const policies = examples.filter((text) => text.startsWith("apiVersion:"));
const configs = examples.filter((text) => !text.startsWith("apiVersion:"));

const BASE = `workload: { namespace: shop, labels: { app: orders } }
identity: { files: { svid: a, key: b, bundles: { example.org: c } } }
inbound: [{ name: in, listen: "127.0.0.1:15006", app: "127.0.0.1:8080", protocol: http }]
`;
const config = (text: string) => parseSidecarConfig(BASE + text, "/etc/cs/countersign.yaml", {});

describe("docs/request-authentication.md", () => {
  it("has examples of both kinds", () => {
    expect([policies.length > 2, configs.length > 2]).toEqual([true, true]);
  });

  it.each(configs.map((text) => [text.split("\n")[0], text]))(
    "%s … is a configuration without a warning of its own",
    (_, text = "") => {
      expect(config(text).warnings.filter(({ code }) => code !== "W_CONFIG_NO_POLICIES")).toEqual([]);
    },
  );

  it.each(policies.map((text) => [/name: ([a-z-]+)/.exec(text)?.[1], text]))(
    "%s is a policy without a warning",
    (_, text = "") => {
      const withProviders = configs.find((one) => one.includes("name: legacy")) ?? "";
      const options = policyOptionsOf(config(withProviders).config, parseTrustDomain("example.org"));
      const { policy, warnings } = loadPolicies([{ file: "example.yaml", text }], options);
      expect(warnings).toEqual([]);
      expect(policy.policyCount + policy.peerAuthentications.length + jwtRulesFor(policy).length).toBeGreaterThan(0);
    },
  );

  it("names only codes that exist", () => {
    const named = page.match(/E_[A-Z0-9_]+/g) ?? [];
    expect(named.filter((code) => !Object.hasOwn(errorCodes, code))).toEqual([]);
  });
});
