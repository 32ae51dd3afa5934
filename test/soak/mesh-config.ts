// Two sidecars as configuration: web's outbound calls orders' inbound, behind which the app of the soak program stands.
import { writeFileSync } from "node:fs";
import { join } from "node:path";

export interface SoakMesh {
  readonly dir: string;
  readonly trustDomain: string;
  readonly outboundPort: number;
  readonly inboundPort: number;
  readonly appPort: number;
}

export type Role = "web" | "orders";

export function spiffeIdOf({ trustDomain }: Pick<SoakMesh, "trustDomain">, role: Role): string {
  return `spiffe://${trustDomain}/ns/shop/sa/${role}`;
}

/** countersign.yaml of one role, but for audit; `identity` is that key's value. */
export function sidecarConfig(
  mesh: SoakMesh,
  role: Role,
  identity: object,
  protocol: "http1" | "http" | "tcp" = "http1",
): object {
  const common = { workload: { namespace: "shop", labels: { app: role } }, identity };
  switch (role) {
    case "web":
      return {
        ...common,
        outbound: [
          {
            name: "orders",
            listen: `127.0.0.1:${mesh.outboundPort}`,
            to: [`127.0.0.1:${mesh.inboundPort}`],
            identity: spiffeIdOf(mesh, "orders"),
            protocol,
          },
        ],
      };
    case "orders":
      return {
        ...common,
        inbound: [
          {
            name: "web",
            listen: `127.0.0.1:${mesh.inboundPort}`,
            app: `127.0.0.1:${mesh.appPort}`,
            protocol,
            mtls: "strict",
          },
        ],
        policies: [writePolicy(mesh)],
      };
  }
}

function writePolicy(mesh: SoakMesh): string {
  const file = join(mesh.dir, "policies.yaml");
  const source = { principals: [spiffeIdOf(mesh, "web").slice("spiffe://".length)] };
  const policy = {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name: "callers", namespace: "shop" },
    spec: {
      selector: { matchLabels: { app: "orders" } },
      action: "ALLOW",
      rules: [{ from: [{ source }], to: [{ operation: { methods: ["GET", "POST"], paths: ["/*"] } }] }],
    },
  };
  writeFileSync(file, JSON.stringify(policy, undefined, 2));
  return file;
}
