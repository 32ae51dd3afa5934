// web's sidecar → orders' sidecar → an app on loopback, each sidecar a process of the real program.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createTestCa, type TestCa, writeIdentityFiles } from "./cert-factory.ts";
import type { CountersignProcesses, SidecarProcess } from "./countersign-process.ts";
import { ALLOW_WEB, ORDERS, TRUST_DOMAIN, WEB } from "./mesh.ts";

export interface SidecarPair {
  readonly orders: SidecarProcess;
  readonly web: SidecarProcess;
  /** Port of web's outbound listener, which leads to the app. */
  readonly port: number;
}

export interface PairOptions {
  /** For the files: `orders.yaml`, `orders.jsonl`, `orders-admin.sock`, …, the same for web, and `policies.yaml`. */
  readonly dir: string;
  readonly processes: CountersignProcesses;
  readonly appPort: number;
  /** Of both listeners. Default http. */
  readonly protocol?: string;
  /** Orders' policies at the start. Default: web may do everything. */
  readonly policies?: string;
  /** More top-level keys of both: `drain: { timeout: 100ms }`. */
  readonly more?: string;
}

const identity = (role: string): string =>
  `identity: { files: { svid: ${role}/svid.pem, key: ${role}/svid.key, bundles: { ${TRUST_DOMAIN}: ${role}/bundle.pem } } }`;

/** Audit to a file, the pages of operations on Unix sockets, which no other test can be on. */
export const operations = (dir: string, role: string): string => `audit: { sinks: [{ file: { path: ${role}.jsonl } }] }
admin: { listen: "unix://${dir}/${role}-admin.sock" }
health: { listen: "unix://${dir}/${role}-health.sock" }
metrics: { listen: "unix://${dir}/${role}-metrics.sock" }`;

export const ordersYaml = ({
  dir,
  appPort,
  protocol = "http",
  more = "",
}: PairOptions): string => `${operations(dir, "orders")}
${identity("orders")}
workload: { namespace: shop, labels: { app: orders } }
inbound:
  - { name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${appPort}", protocol: ${protocol} }
policies: [policies.yaml]
${more}
`;

/** `to`: the port of orders' sidecar. */
const webYaml = ({ dir, protocol = "http", more = "" }: PairOptions, to: number): string => `${operations(dir, "web")}
${identity("web")}
outbound:
  - { name: out, listen: "127.0.0.1:0", to: ["127.0.0.1:${to}"], identity: "${ORDERS}", protocol: ${protocol} }
${more}
`;

/** A role's process, with its SVID in files and `yaml` as its configuration. */
function start({ dir, processes }: PairOptions, role: "orders" | "web", ca: TestCa, yaml: string): SidecarProcess {
  writeIdentityFiles(join(dir, role), ca.issue({ spiffeId: role === "orders" ? ORDERS : WEB }), ca);
  const file = join(dir, `${role}.yaml`);
  writeFileSync(file, yaml);
  return processes.run(file);
}

/** Orders' sidecar alone, with its policies in policies.yaml. */
export function startOrders(options: PairOptions, ca: TestCa): SidecarProcess {
  writeFileSync(join(options.dir, "policies.yaml"), options.policies ?? ALLOW_WEB);
  return start(options, "orders", ca, ordersYaml(options));
}

/** Returns when both are ready. */
export async function startPair(options: PairOptions): Promise<SidecarPair> {
  const ca = createTestCa(TRUST_DOMAIN);
  const orders = startOrders(options, ca);
  const web = start(options, "web", ca, webYaml(options, await orders.port("in")));
  await Promise.all([orders.next("ready"), web.next("ready")]);
  return { orders, web, port: await web.port("out") };
}
