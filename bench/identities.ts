// The identities of a run: one CA, the caller, the server, and a stranger of the same CA who must be refused.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createTestCa, type TestCa, writeIdentityFiles } from "../test/support/cert-factory.ts";

export const trustDomain = "bench.test";

/** One identity in every form that the peers can check: SPIFFE ID, DNS name, common name (the same as the DNS name). */
export interface BenchIdentity {
  readonly spiffeId: string;
  readonly dnsName: string;
  /** PEM files. `combined` holds the chain and then the key, for HAProxy. */
  readonly files: { readonly svid: string; readonly key: string; readonly bundle: string; readonly combined: string };
}

export interface BenchIdentities {
  readonly web: BenchIdentity;
  readonly orders: BenchIdentity;
  readonly stranger: BenchIdentity;
}

export function createIdentities(dir: string): BenchIdentities {
  const ca = createTestCa(trustDomain);
  return {
    web: issue(ca, dir, "web"),
    orders: issue(ca, dir, "orders"),
    stranger: issue(ca, dir, "stranger"),
  };
}

function issue(ca: TestCa, parent: string, name: string): BenchIdentity {
  const spiffeId = `spiffe://${trustDomain}/ns/shop/sa/${name}`;
  const dnsName = `${name}.${trustDomain}`;
  const issued = ca.issue({
    spiffeId,
    dnsSans: [dnsName],
    commonName: dnsName,
    notAfter: Date.now() + 24 * 3_600_000,
  });
  const dir = join(parent, name);
  mkdirSync(dir, { recursive: true });
  const { svid, key, bundle } = writeIdentityFiles(dir, issued, ca);
  const combined = join(dir, "combined.pem");
  writeFileSync(combined, issued.chainPem + issued.keyPem, { mode: 0o600 });
  return { spiffeId, dnsName, files: { svid, key, bundle, combined } };
}
