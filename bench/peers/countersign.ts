import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { trustDomain } from "../identities.ts";
import { waitUntilReady } from "../processes.ts";
import { type HopName, type Mesh, type Peer, versionOf } from "./peer.ts";

const root = join(import.meta.dirname, "..", "..");
const bundledCli = ["--disable-warning=ExperimentalWarning", join(root, "dist", "countersign.mjs")];

/** Countersign as users run it: the bundled CLI, one worker, identity from files, strict mode with a few rules, audit to
 *  a file. It is built first, so that what is measured is what stands in the tree. */
export const countersign: Peer = countersignWith([]);

/** The same with more arguments for its Node, or with other policies at the inbound: the text of a file. */
export function countersignWith(nodeArguments: readonly string[], policies?: string): Peer {
  return {
    name: "countersign",
    async find(children) {
      await children.run("build", process.execPath, [join(root, "tools", "build.mjs")], 60_000);
      const help = await versionOf(children, process.execPath, [...bundledCli, "run", "--help"]);
      if (help === undefined) return { kind: "missing", hint: "this tree's CLI has no `run` command" };
      const version = await versionOf(children, process.execPath, [...bundledCli, "--version"]);
      return { kind: "found", version: version ?? "unknown" };
    },
    async start(hop, mesh, children) {
      const config = join(mesh.dir, `${hop}.yaml`);
      writeFileSync(
        config,
        JSON.stringify(hop === "outbound" ? outbound(mesh) : inbound(mesh, policies), undefined, 2),
      );
      let isReady = false;
      const args = [...nodeArguments, ...bundledCli, "run", "-c", config];
      const child = await children.start(`countersign ${hop}`, process.execPath, args, {
        onStderrLine: (line) => {
          isReady ||= line.includes('"event":"ready"');
        },
      });
      await waitUntilReady(child, () => isReady, 20_000);
      return { child, accessLog: { dir: mesh.dir, name: `${hop}-audit` } };
    },
  };
}

function common(hop: HopName, mesh: Mesh): object {
  const own = hop === "outbound" ? mesh.identities.web : mesh.identities.orders;
  return {
    workload: { namespace: "shop", labels: { app: hop === "outbound" ? "web" : "orders" } },
    identity: {
      files: { svid: own.files.svid, key: own.files.key, bundles: { [trustDomain]: own.files.bundle } },
    },
    audit: { sinks: [{ file: { path: join(mesh.dir, `${hop}-audit.jsonl`) } }] },
  };
}

/** `http`: the app gets the version that the caller used, and HTTP/2 runs between the two hops. */
function protocolOf(mesh: Mesh): string {
  return mesh.wire === "tcp" ? "tcp" : "http";
}

function outbound(mesh: Mesh): object {
  const { ports, identities } = mesh;
  const listener = {
    name: "orders",
    listen: `127.0.0.1:${ports.outbound}`,
    to: [`127.0.0.1:${ports.inbound}`],
    identity: identities.orders.spiffeId,
    protocol: protocolOf(mesh),
  };
  return { ...common("outbound", mesh), outbound: [listener] };
}

/** Where the inbound's policies are. */
export function policyFileOf({ dir }: Pick<Mesh, "dir">): string {
  return join(dir, "policies.yaml");
}

function inbound(mesh: Mesh, given: string | undefined): object {
  const { ports } = mesh;
  const policies = policyFileOf(mesh);
  const documents = policyDocuments(mesh).map((document) => `---\n${JSON.stringify(document, undefined, 2)}\n`);
  writeFileSync(policies, given ?? documents.join(""));
  const listener = {
    name: "web",
    listen: `127.0.0.1:${ports.inbound}`,
    app: `127.0.0.1:${ports.app}`,
    protocol: protocolOf(mesh),
    mtls: "strict",
  };
  return { ...common("inbound", mesh), inbound: [listener], policies: [policies] };
}

/** What the other peers check (caller and method), and a DENY policy and a second caller beside it. */
function policyDocuments(mesh: Mesh): readonly object[] {
  const { ports, identities } = mesh;
  const principal = identities.web.spiffeId.slice("spiffe://".length);
  const app = [String(ports.app)];
  const document = (name: string, action: string, rules: readonly object[]): object => ({
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name, namespace: "shop" },
    spec: { selector: { matchLabels: { app: "orders" } }, action, rules },
  });
  const rule = (principals: readonly string[], operation: object): object => ({
    from: [{ source: { principals } }],
    to: [{ operation }],
  });
  if (mesh.wire === "tcp") return [document("callers", "ALLOW", [rule([principal], { ports: app })])];
  return [
    document("no-admin", "DENY", [{ to: [{ operation: { paths: ["/admin", "/admin/*"], ports: app } }] }]),
    document("callers", "ALLOW", [
      rule([`${trustDomain}/ns/shop/sa/reports`], { methods: ["GET"], paths: ["/reports/*"], ports: app }),
      rule([principal], { methods: ["GET", "POST"], paths: ["/*"], ports: app }),
    ]),
  ];
}
