import { join } from "node:path";
import { createTestCa, type TestCa, writeIdentityFiles } from "../support/cert-factory.ts";
import { type Role, type SoakMesh, spiffeIdOf } from "./mesh-config.ts";

/** `identity` of countersign.yaml for each role, from files that one CA has issued for a day. */
export function createFileIdentities(mesh: SoakMesh): Readonly<Record<Role, object>> {
  const ca = createTestCa(mesh.trustDomain);
  return { web: issue(ca, mesh, "web"), orders: issue(ca, mesh, "orders") };
}

function issue(ca: TestCa, mesh: SoakMesh, role: Role): object {
  const issued = ca.issue({ spiffeId: spiffeIdOf(mesh, role), notAfter: Date.now() + 24 * 3_600_000 });
  const { svid, key, bundle } = writeIdentityFiles(join(mesh.dir, role), issued, ca);
  return { files: { svid, key, bundles: { [mesh.trustDomain]: bundle } } };
}
