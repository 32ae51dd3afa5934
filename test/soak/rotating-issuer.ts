// An issuer that rotates fast, for two sidecars of one user.
import { copyFileSync, linkSync } from "node:fs";
import { join } from "node:path";
import { type Role, type SoakMesh, spiffeIdOf } from "./mesh-config.ts";

/** A name of its own for Node, so that the issuer can tell processes of one user apart by their path. */
export function nodeFor(role: Role, dir: string): string {
  const path = join(dir, `node-${role}`);
  try {
    linkSync(process.execPath, path);
  } catch {
    copyFileSync(process.execPath, path); // the temporary folder is on another file system
  }
  return path;
}

/** issuer.yaml for both roles, each told by the path of its Node. */
export function issuerConfig(
  mesh: Pick<SoakMesh, "dir" | "trustDomain">,
  nodes: Readonly<Record<Role, string>>,
  socket: string,
  rotationMs: number,
): object {
  const uid = process.getuid?.() ?? 0;
  return {
    trustDomain: mesh.trustDomain,
    socket: `unix://${socket}`,
    state: join(mesh.dir, "issuer-state"),
    svidTtl: "1h",
    svidRotation: `${rotationMs}ms`,
    development: true,
    entries: (["web", "orders"] as const).map((role) => ({
      id: spiffeIdOf(mesh, role),
      selectors: [`unix:uid:${uid}`, `unix:path:${nodes[role]}`],
    })),
  };
}
