import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadPolicies } from "../../src/authz/load-policies.ts";
import { policyOptionsOf } from "../../src/cli/policy-options.ts";
import { parseSidecarConfig } from "../../src/config/load-sidecar-config.ts";
import type { SidecarConfig } from "../../src/config/sidecar-config.ts";
import { parseTrustDomain } from "../../src/core/spiffe-id.ts";
import "../../src/authz/use-cel.ts";

const page = readFileSync(join(import.meta.dirname, "..", "..", "docs", "egress.md"), "utf8");
const blocks = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, block = ""]) => block);
const policies = blocks.filter((block) => block.includes("apiVersion"));
const [configuration = "", ...others] = blocks.filter((block) => !block.includes("apiVersion"));

function configOf(more = ""): SidecarConfig {
  const text = `workload: { namespace: shop }\n${configuration}${more}`;
  const { config, warnings } = parseSidecarConfig(text, "/etc/countersign.yaml", {
    SPIFFE_ENDPOINT_SOCKET: "unix:///run/agent.sock",
  });
  expect(warnings).toEqual([]);
  return config;
}

const provider = (kind: string): string =>
  `extensionProviders: [{ name: opa, ${kind}: { service: 127.0.0.1, port: 9191 } }]\n`;

describe("docs/egress.md", () => {
  it("has one configuration, which loads, and policies", () => {
    expect(others).toEqual([]);
    expect(policies.length).toBeGreaterThan(1);
    expect(configOf().forward.map(({ name }) => name)).toEqual(["egress"]);
  });

  it.each(policies)("has policies that load without warning for it: %s", (block) => {
    const options = policyOptionsOf(configOf(provider("envoyExtAuthzGrpc")), parseTrustDomain("example.org"));
    expect(options.tunnelPorts).toEqual([443, 15006]);
    expect(loadPolicies([{ file: "page.yaml", text: block }], options).warnings).toEqual([]);
  });

  it("says what has to be added where the provider is asked over HTTP", () => {
    const options = policyOptionsOf(configOf(provider("envoyExtAuthzHttp")), parseTrustDomain("example.org"));
    const text = policies.find((block) => block.includes("CUSTOM")) ?? "";
    expect(() => loadPolicies([{ file: "page.yaml", text }], options)).toThrow("notMethods: [CONNECT]");
    expect(page.replaceAll(/\s+/g, " ")).toContain("`notMethods: [CONNECT]`");
    const limited = text.replace("operation: {", "operation: { notMethods: [CONNECT],");
    expect(loadPolicies([{ file: "page.yaml", text: limited }], options).warnings).toEqual([]);
  });
});
