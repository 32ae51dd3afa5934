import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { onTestFinished } from "vitest";
import { run } from "../../src/cli/policy.ts";
import { type Ran, runCommand } from "./run-command.ts";

/** A folder of a test's own with a configuration and policies, and the `policy` commands in it. */
export interface PolicyWorkspace {
  readonly folder: string;
  write(name: string, text: string): void;
  policy(...argv: string[]): Promise<Ran>;
}

/** A sidecar of orders in namespace shop of trust domain example.org, whose app listens on port 8080. */
export const ORDERS_YAML = `workload: { namespace: shop, labels: { app: orders } }
identity: { files: { svid: svid.pem, key: svid.key, bundles: { example.org: bundle.pem } } }
inbound: [{ name: web, listen: "127.0.0.1:15006", app: "127.0.0.1:8080", protocol: http }]
policies: [policies]
audit: { sinks: [{ file: { path: audit.jsonl } }] }
`;

export function policyWorkspace(files: Readonly<Record<string, string>> = {}): PolicyWorkspace {
  const folder = mkdtempSync(join(tmpdir(), "countersign-policy-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const write = (name: string, text: string): void => {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  };
  for (const [name, text] of Object.entries({ "c.yaml": ORDERS_YAML, ...files })) write(name, text);
  return {
    folder,
    write,
    policy: (...argv) => runCommand(run, argv, folder),
  };
}
