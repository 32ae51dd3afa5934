import { describe, expect, test } from "vitest";
import { type CertOptions, createTestCa } from "../../test/support/cert-factory.ts";
import { unusualChains } from "../../test/support/chain-tables.ts";
import { nullValue } from "../../test/support/der-writer.ts";
import { bundles, bundlesOf, chainOf, id, leaf, nowMs, root } from "../../test/support/peer-chains.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { parseTrustDomain } from "../core/spiffe-id.ts";
import { verifyPeerChain } from "./verify-peer.ts";

const HOUR = 3_600_000;

describe("an unusual but sound chain is accepted", () => {
  test.each(unusualChains)("%s", (_what, make) => {
    expect(verifyPeerChain(make(), bundles, nowMs)).toMatchObject({ kind: "verified", peer: { spiffeId: id } });
  });
});

describe("an authority", () => {
  const rows: readonly (readonly [string, ErrorCode, CertOptions])[] = [
    ["that expired", "E_CERT_EXPIRED", { notAfter: nowMs - 1000 }],
    ["that is not valid yet", "E_CERT_NOT_YET_VALID", { notBefore: nowMs + 1000 }],
    ["that is no CA", "E_CHAIN_AUTHORITY", { isCa: false, keyUsage: ["keyCertSign"] }],
    ["with an RSA key of 1024 bits", "E_CERT_KEY_SIZE", { keyType: "RSA-1024" }],
    ["on P-224", "E_CERT_KEY_CURVE", { keyType: "P-224" }],
    [
      "with an unknown critical extension",
      "E_CHAIN_AUTHORITY",
      { extraExtensions: [{ oid: "1.2.3.4", critical: true, value: nullValue() }] },
    ],
    ["with a path length of 0 above an intermediate", "E_CHAIN_PATH_LENGTH", { pathLen: 0 }],
    [
      "that permits another trust domain only",
      "E_CHAIN_NAME_CONSTRAINTS",
      { nameConstraints: { permittedUris: ["partner.org"] }, spiffeId: undefined },
    ],
  ];
  test.each(rows)("%s ends no chain: %s", (_what, code, options) => {
    const ca = createTestCa("example.org", { nowMs, ...options });
    const chain = chainOf(ca.intermediate().issue({ spiffeId: id }));
    expect(verifyPeerChain(chain, bundlesOf(ca), nowMs)).toMatchObject({ kind: "refused", code });
  });

  test("of version 1 ends no chain", () => {
    const ca = createTestCa("example.org", { nowMs, version: 1 });
    expect(verifyPeerChain(chainOf(ca.issue()), bundlesOf(ca), nowMs)).toMatchObject({ code: "E_CHAIN_UNTRUSTED" });
  });

  test.each([
    ["without key usage", { keyUsage: "absent" }],
    ["signed with SHA-1, since nothing hangs on its own signature", { signatureHash: "sha1" }],
  ] as const)("%s is taken", (_what, options) => {
    const ca = createTestCa("example.org", { nowMs, ...options });
    expect(verifyPeerChain(chainOf(ca.issue()), bundlesOf(ca), nowMs)).toMatchObject({ kind: "verified" });
  });

  test("is missing from an empty bundle, which revokes the whole domain", () => {
    const trustDomain = parseTrustDomain("example.org");
    const empty = new Map([[trustDomain, { trustDomain, authorities: [], crls: [], version: "0" }]]);
    expect(verifyPeerChain(leaf(), empty, nowMs)).toMatchObject({ kind: "refused", code: "E_BUNDLE_EMPTY" });
  });
});

test("a verified peer carries what records need, and ends with the first certificate of its chain", () => {
  const until = nowMs + HOUR / 2;
  const issued = root.intermediate({ notAfter: until, commonName: "short" }).issue({ spiffeId: id, serial: 0x0abcn });
  const verdict = verifyPeerChain(chainOf(issued), bundles, nowMs);
  expect(verdict).toEqual({
    kind: "verified",
    peer: {
      spiffeId: id,
      trustDomain: "example.org",
      serial: "abc",
      issuer: "C=US, CN=short",
      notAfterMs: nowMs + HOUR,
      validUntilMs: until,
      fingerprint: issued.certificate.fingerprint256.replaceAll(":", "").toLowerCase(),
    },
  });
});

test("what a refused peer claimed is kept on one printable line of bounded length", () => {
  const claimed = `spiffe://example.org/${"x".repeat(300)}\n\u00e9`;
  const verdict = verifyPeerChain(leaf({ spiffeId: `spiffe://e\n\x1b[31m${claimed}` }), bundles, nowMs);
  expect(verdict).toMatchObject({ kind: "refused", code: "E_SVID_SPIFFE_ID" });
  if (verdict.kind === "refused") expect(verdict.claimed).toMatch(/^spiffe:\/\/e\?\?\[31m[\x20-\x7e]{1,250}$/);
});
