import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { trustDomain } from "../identities.ts";
import { waitUntilReady } from "../processes.ts";
import { type HopName, type Mesh, type Peer, versionOf } from "./peer.ts";

const root = join(import.meta.dirname, "..", "..");
const bundledCli = ["--disable-warning=ExperimentalWarning", join(root, "dist", "countersign.mjs")];

/** Countersign as users run it: the bundled CLI, one worker, identity from files, strict mode with a few rules, audit to
 *  a file. It is built first, so that what is measured is what stands in the tree. */
export const countersign: Peer = {
  name: "countersign",
  async find(children) {
    await children.run("build", process.execPath, [join(root, "tools", "build.mjs")], 60_000);
    const help = await versionOf(children, process.execPath, [...bundledCli, "run", "--help"]);
    if (help === undefined) return { kind: "missing", hint: "this tree's CLI has no `run` command" };
    const version = await versionOf(children, process.execPath, [...bundledCli, "--version"]);
    return { kind: "found", version: version ?? "unknown", tcp: true };
  },
  async start(hop, mesh, children) {
    const config = join(mesh.dir, `${hop}.yaml`);
    writeFileSync(config, JSON.stringify(hop === "outbound" ? outbound(mesh) : inbound(mesh), undefined, 2));
    let isReady = false;
    const child = await children.start(`countersign ${hop}`, process.execPath, [...bundledCli, "run", "-c", config], {
      onStderrLine: (line) => {
        isReady ||= line.includes('"event":"ready"');
      },
    });
    await waitUntilReady(child, () => isReady, 20_000);
    return { child, accessLog: { dir: mesh.dir, name: `${hop}-audit` } };
  },
};

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

function outbound(mesh: Mesh): object {
  const { ports, identities } = mesh;
  const to = (name: string, listen: number, target: number, protocol: string): object => ({
    name,
    listen: `127.0.0.1:${listen}`,
    to: [`127.0.0.1:${target}`],
    identity: identities.orders.spiffeId,
    protocol,
  });
  const http = to("orders", ports.outboundHttp, ports.inboundHttp, "http1");
  const tcp = to("orders-tcp", ports.outboundTcp, ports.inboundTcp, "tcp");
  return { ...common("outbound", mesh), outbound: mesh.tcp ? [http, tcp] : [http] };
}

function inbound(mesh: Mesh): object {
  const { ports } = mesh;
  const policies = join(mesh.dir, "policies.yaml");
  writeFileSync(
    policies,
    policyDocuments(mesh)
      .map((document) => `---\n${JSON.stringify(document, undefined, 2)}\n`)
      .join(""),
  );
  const from = (name: string, listen: number, app: number, protocol: string): object => ({
    name,
    listen: `127.0.0.1:${listen}`,
    app: `127.0.0.1:${app}`,
    protocol,
    mtls: "strict",
  });
  const http = from("web", ports.inboundHttp, ports.appHttp, "http1");
  const tcp = from("tcp", ports.inboundTcp, ports.appTcp, "tcp");
  return { ...common("inbound", mesh), inbound: mesh.tcp ? [http, tcp] : [http], policies: [policies] };
}

/** What the other peers check (caller and method), and a DENY policy and a second caller beside it. */
function policyDocuments(mesh: Mesh): readonly object[] {
  const { ports, identities } = mesh;
  const principal = identities.web.spiffeId.slice("spiffe://".length);
  const http = [String(ports.appHttp)];
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
  const allow = [
    rule([`${trustDomain}/ns/shop/sa/reports`], { methods: ["GET"], paths: ["/reports/*"], ports: http }),
    rule([principal], { methods: ["GET", "POST"], paths: ["/*"], ports: http }),
  ];
  if (mesh.tcp) allow.push(rule([principal], { ports: [String(ports.appTcp)] }));
  return [
    document("no-admin", "DENY", [{ to: [{ operation: { paths: ["/admin", "/admin/*"], ports: http } }] }]),
    document("callers", "ALLOW", allow),
  ];
}
