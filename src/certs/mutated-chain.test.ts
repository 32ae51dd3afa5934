import { X509Certificate } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createTestCa } from "../../test/support/cert-factory.ts";
import { parseTrustDomain } from "../core/spiffe-id.ts";
import { CertificateError, readCertificate } from "./read-certificate.ts";
import { verifyPeerChain } from "./verify-peer.ts";

const nowMs = Date.UTC(2030, 0, 1);
const root = createTestCa("example.org", { nowMs });
const bundles = new Map([[parseTrustDomain("example.org"), root.trustBundle()]]);
const issued = root.intermediate().issue({ spiffeId: "spiffe://example.org/ns/shop/sa/web" });

function parse(der: Uint8Array): X509Certificate | undefined {
  try {
    return new X509Certificate(der);
  } catch {
    return undefined;
  }
}

test("no change of one bit anywhere in a chain is accepted, nor makes verification throw", () => {
  let judged = 0;
  for (const [at, der] of issued.chainDer.entries()) {
    for (let bit = 0; bit < der.length * 8; bit++) {
      const changed = Buffer.from(der);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const chain = issued.chainDer.map((other, i) => parse(i === at ? changed : other));
      if (!chain.every((certificate) => certificate !== undefined)) continue;
      // Node may re-encode what stands outside of the signed part; then nothing has changed.
      if (chain[at]?.raw.equals(der)) continue;
      judged++;
      expect(verifyPeerChain(chain, bundles, nowMs).kind, `bit ${bit} of certificate ${at}`).toBe("refused");
    }
  }
  expect(judged).toBeGreaterThan(1000);
});

test("any bytes either read as a certificate or are refused as one", () => {
  const spliced = fc
    .tuple(fc.nat(issued.der.length), fc.nat(64), fc.uint8Array({ maxLength: 64 }))
    .map(([at, removed, added]) =>
      Buffer.concat([issued.der.subarray(0, at), added, issued.der.subarray(at + removed)]),
    );
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), spliced), (bytes) => {
      try {
        readCertificate(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(CertificateError);
      }
    }),
    { numRuns: 2000 },
  );
});
