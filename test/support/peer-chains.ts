// The trust domain, its roots and the leaf that the tests of peer verification start from.
import { type KeyObject, X509Certificate } from "node:crypto";
import type { TrustBundle } from "../../src/core/identity.ts";
import { parseTrustDomain, type TrustDomain } from "../../src/core/spiffe-id.ts";
import { type CertOptions, createTestCa, type TestCa, type TestIssued } from "./cert-factory.ts";
import { bits, integer, nullValue, oid, sequence } from "./der-writer.ts";

export const nowMs = Date.UTC(2030, 0, 1);
export const id = "spiffe://example.org/ns/shop/sa/web";
export const root = createTestCa("example.org", { nowMs });
export const rsaRoot = createTestCa("example.org", { nowMs, keyType: "RSA-2048", commonName: "rsa root" });
export const partner = createTestCa("partner.org", { nowMs });

export function bundlesOf(...roots: readonly TestCa[]): ReadonlyMap<TrustDomain, TrustBundle> {
  const bundles = new Map<TrustDomain, TrustBundle>();
  for (const ca of roots) {
    const trustDomain = parseTrustDomain(ca.trustDomain);
    const authorities = [...(bundles.get(trustDomain)?.authorities ?? []), ca.certificate];
    bundles.set(trustDomain, { trustDomain, authorities, crls: [], version: String(authorities.length) });
  }
  return bundles;
}
export const bundles = bundlesOf(root, rsaRoot, partner);

const keys = new WeakMap<X509Certificate, KeyObject>();

export function chainOf({ chainDer, key }: Pick<TestIssued, "chainDer" | "key">): X509Certificate[] {
  const chain = chainDer.map((der) => new X509Certificate(der));
  const [first] = chain;
  if (first !== undefined) keys.set(first, key);
  return chain;
}

/** The private key that goes with a chain of chainOf, if its leaf has the public half of it. */
export function keyOfChain([first]: readonly X509Certificate[]): KeyObject | undefined {
  const key = first && keys.get(first);
  try {
    return key !== undefined && first?.checkPrivateKey(key) === true ? key : undefined;
  } catch {
    return undefined;
  }
}
export const leaf = (options: CertOptions = {}): X509Certificate[] => chainOf(root.issue({ spiffeId: id, ...options }));
export const rsaLeaf = (options: CertOptions = {}): X509Certificate[] =>
  chainOf(rsaRoot.issue({ spiffeId: id, ...options }));
export const under = (options: CertOptions, leafOptions: CertOptions = {}): X509Certificate[] =>
  chainOf(root.intermediate(options).issue({ spiffeId: id, ...leafOptions }));
export const constrainedTo = (
  nameConstraints: CertOptions["nameConstraints"],
  leafOptions: CertOptions = {},
): X509Certificate[] => under({ ...(nameConstraints && { nameConstraints }), spiffeId: undefined }, leafOptions);

export const rsaSpki = (modulusBits: number, exponent: number): Buffer =>
  sequence(
    sequence(oid("1.2.840.113549.1.1.1"), nullValue()),
    bits(sequence(integer((1n << BigInt(modulusBits)) - 1n), integer(exponent))),
  );
