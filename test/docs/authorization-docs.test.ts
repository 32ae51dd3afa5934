import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadPolicies } from "../../src/authz/load-policies.ts";
import { policyOptionsOf } from "../../src/cli/policy-options.ts";
import { parseSidecarConfig } from "../../src/config/load-sidecar-config.ts";
import { parseTrustDomain } from "../../src/core/spiffe-id.ts";
import { auditLines } from "../support/audit-lines.ts";
import { ORDERS_YAML, policyWorkspace } from "../support/policy-workspace.ts";
import "../../src/authz/use-cel.ts";

const page = readFileSync(join(import.meta.dirname, "..", "..", "docs", "authorization.md"), "utf8");
const blocks = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, block = ""]) => block);
const isPolicy = (block: string) => block.includes("apiVersion");
const isTable = (block: string) => /^tests:/m.test(block);
const policies = blocks.filter(isPolicy);
const tables = blocks.filter(isTable);
const configurations = blocks.filter((block) => !isPolicy(block) && !isTable(block));
/** Whole command lines, of blocks and of sentences. */
const commands = [...page.matchAll(/^countersign policy .*$|(?<=`)countersign policy [^`…]*(?=`)/gm)].map(
  ([line]) => line,
);
const environment = { SPIFFE_ENDPOINT_SOCKET: "unix:///run/agent.sock" };

describe("docs/authorization.md", () => {
  it("has blocks of every sort", () => {
    const several = [policies.length > 4, tables.length > 0, configurations.length > 0, commands.length > 4];
    expect(several).toEqual([true, true, true, true]);
  });

  it.each(configurations)("has a configuration that loads: %s", (block) => {
    expect(parseSidecarConfig(block, "/etc/countersign.yaml", environment).warnings).toEqual([]);
  });

  it.each(policies)("has policies that load without warning: %s", (block) => {
    const config = `${configurations[0] ?? ""}extensionProviders: [{ name: opa, envoyExtAuthzGrpc: { service: 127.0.0.1, port: 9191 } }]\n`;
    const options = policyOptionsOf(
      parseSidecarConfig(config, "/etc/countersign.yaml", environment).config,
      parseTrustDomain("example.org"),
    );
    expect(loadPolicies([{ file: "page.yaml", text: block }], options).warnings).toEqual([]);
  });

  it("has tables of tests that pass with its policies", async () => {
    const { policy, write } = policyWorkspace({ "c.yaml": ORDERS_YAML });
    for (const [i, block] of policies.entries()) write(`policies/${i}.yaml`, block);
    for (const [i, block] of tables.entries()) write(`policies/${i}.test.yaml`, block);
    const { code, out, err } = await policy("test", "-c", "c.yaml");
    expect([code, out, err]).toEqual([0, expect.stringContaining("5 passed, 0 failed"), ""]);
  });

  it.each(commands)("has commands that run: %s", async (line) => {
    const calls = '{"protocol": "http", "request": {"path": "/orders"}}\n';
    const audit = auditLines([{ path: "/orders/7", over: { id: "4f1d92c07a3b-17" } }]);
    const { policy, write } = policyWorkspace({
      "countersign.yaml": ORDERS_YAML,
      "strict.yaml": ORDERS_YAML,
      "istio.yaml": `${ORDERS_YAML}authorization: { mode: istio }\n`,
      "calls.jsonl": calls,
      "audit.jsonl": audit,
    });
    for (const [i, block] of policies.entries()) write(`policies/${i}.yaml`, block);
    const words = [...line.matchAll(/"([^"]*)"|\S+/g)].map(([word, quoted]) => quoted ?? word);
    const { code, out, err } = await policy(...words.slice(2));
    expect(err.replace(/^(?:records hold|by istio\.yaml, ).*\n/gm, "")).toBe("");
    expect(code).toBeLessThan(2);
    expect(out).toMatch(/allow|deny|verdict/i);
  });

  it("names every command, and every flag that it shows exists", async () => {
    const { policy } = policyWorkspace();
    const { out } = await policy("--help");
    const commands = [...out.matchAll(/^ {2}(\w+) /gm)].map(([, name = ""]) => name).filter((name) => name !== "help");
    expect(commands.length).toBeGreaterThan(5);
    for (const command of commands) expect(page).toContain(`\`policy ${command}`);
    const help = (await Promise.all(commands.map((command) => policy(command, "--help"))))
      .map(({ out: text }) => text)
      .join();
    for (const [flag] of page.matchAll(/(?<![-\w])--[a-z][a-z-]+/g)) expect(help).toContain(flag);
  });
});
