import { copyFileSync, linkSync, mkdirSync, mkdtempSync, realpathSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** SVIDs rotate this often in the demo, so that one can be watched. */
const ROTATION = "2s";

export interface DemoFolder {
  readonly folder: string;
  readonly issuerConfig: string;
  /** The Node binary under the role's own name. */
  node(role: "web" | "orders"): string;
  audit(role: "web" | "orders"): string;
  /** Writes the role's countersign.yaml and gives its path. */
  writeOrders(appPort: number): string;
  writeWeb(ordersAddress: string): string;
}

/** The demo's files in a folder of their own under the temporary one, 0700. */
export function makeDemoFolder(uid: number): DemoFolder {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "countersign-demo-")));
  const path = (name: string): string => join(folder, name);
  // One user runs everything here, so the roles can be told apart by program path alone: each has a link of its own.
  const nodes = { web: path("node-web"), orders: path("node-orders") };
  for (const node of Object.values(nodes)) linkOrCopy(process.execPath, node);
  mkdirSync(path("policies"));
  writeFileSync(path("policies/orders.yaml"), POLICIES);
  const socket = `unix://${path("issuer.sock")}`;
  const issuerConfig = path("issuer.yaml");
  writeFileSync(
    issuerConfig,
    `trustDomain: example.org
socket: ${socket}
state: ${path("issuer-state")}
svidTtl: 1h
svidRotation: ${ROTATION}
development: true   # one user stands for two workloads; in production each has a uid of its own
audit: { sinks: [{ file: { path: ${path("audit-issuer.jsonl")} } }] }
entries:
  - id: spiffe://example.org/ns/shop/sa/web
    selectors: ["unix:uid:${uid}", "unix:path:${nodes.web}"]
  - id: spiffe://example.org/ns/shop/sa/orders
    selectors: ["unix:uid:${uid}", "unix:path:${nodes.orders}"]
`,
  );
  const common = (role: string): string => `workload: { namespace: shop, labels: { app: ${role} } }
identity: { workloadApi: { address: "${socket}" } }
audit: { sinks: [{ file: { path: ${path(`audit-${role}.jsonl`)} } }] }
admin: { listen: "unix://${path(`admin-${role}.sock`)}" }
`;
  const write = (role: string, text: string): string => {
    const file = path(`${role}.yaml`);
    writeFileSync(file, common(role) + text);
    return file;
  };
  return {
    folder,
    issuerConfig,
    node: (role) => nodes[role],
    audit: (role) => path(`audit-${role}.jsonl`),
    writeOrders: (appPort) =>
      write(
        "orders",
        `inbound:
  - { name: orders, listen: "127.0.0.1:0", app: "127.0.0.1:${appPort}", protocol: http }
policies: [policies/]
`,
      ),
    writeWeb: (ordersAddress) =>
      write(
        "web",
        `outbound:
  - name: orders
    listen: 127.0.0.1:0
    to: ["${ordersAddress}"]
    identity: spiffe://example.org/ns/shop/sa/orders
    protocol: http
  - name: payments          # expects payments, but orders answers there
    listen: 127.0.0.1:0
    to: ["${ordersAddress}"]
    identity: spiffe://example.org/ns/shop/sa/payments
    protocol: http
`,
      ),
  };
}

function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(realpathSync(from), to);
  } catch {
    copyFileSync(from, to); // another file system
  }
}

const POLICIES = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: orders-readers, namespace: shop }
spec:
  selector: { matchLabels: { app: orders } }
  action: ALLOW
  rules:
    - from: [{ source: { principals: [example.org/ns/shop/sa/web] } }]
      to: [{ operation: { methods: [GET, DELETE], paths: ["/orders/*", /download] } }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: nobody-deletes, namespace: shop }
spec:
  selector: { matchLabels: { app: orders } }
  action: DENY
  rules:
    - to: [{ operation: { methods: [DELETE] } }]
`;
