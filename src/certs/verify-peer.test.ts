import type { X509Certificate } from "node:crypto";
import { describe, expect, test } from "vitest";
import { type CertOptions, createTestCa } from "../../test/support/cert-factory.ts";
import { nullValue, oid, sequence } from "../../test/support/der-writer.ts";
import {
  bundles,
  bundlesOf,
  chainOf,
  constrainedTo,
  id,
  leaf,
  nowMs,
  root,
  rsaLeaf,
  rsaSpki,
  under,
} from "../../test/support/peer-chains.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { parseTrustDomain } from "../core/spiffe-id.ts";
import { verifyPeerChain } from "./verify-peer.ts";

const HOUR = 3_600_000;

const goodChains: readonly (readonly [what: string, make: () => readonly X509Certificate[]])[] = [
  ["a plain leaf", () => leaf()],
  ["other kinds of SAN beside the ID", () => leaf({ dnsSans: ["web.shop.svc", "*.example.com"] })],
  ["no extended key usage", () => leaf({ eku: "absent" })],
  ["more purposes than the two", () => leaf({ eku: ["codeSigning", "clientAuth", "serverAuth"] })],
  [
    "more key usages",
    () => leaf({ keyUsage: ["digitalSignature", "keyEncipherment", "keyAgreement", "decipherOnly"] }),
  ],
  ["no basic constraints on the leaf", () => leaf({ basicConstraints: false })],
  [
    "an unknown extension that is not critical",
    () => leaf({ extraExtensions: [{ oid: "1.2.3.4", value: nullValue() }] }),
  ],
  [
    "critical certificate policies",
    () =>
      leaf({ extraExtensions: [{ oid: "2.5.29.32", critical: true, value: sequence(sequence(oid("2.5.29.32.0"))) }] }),
  ],
  ["a leaf on P-384", () => leaf({ keyType: "P-384" })],
  ["a leaf on P-521", () => leaf({ keyType: "P-521" })],
  ["an Ed25519 leaf", () => leaf({ keyType: "Ed25519" })],
  ["an RSA leaf of 2048 bits", () => leaf({ keyType: "RSA-2048" })],
  ["an RSA leaf of 4096 bits", () => leaf({ publicKeyDer: rsaSpki(4096, 65537) })],
  ["an RSA authority with SHA-512", () => rsaLeaf({ signatureHash: "sha512" })],
  ["an empty subject", () => leaf({ subject: sequence() })],
  ["a serial number of 20 bytes", () => leaf({ serial: (1n << 158n) + 5n })],
  ["an expiry after 2050", () => leaf({ notAfter: Date.UTC(2060, 0, 1) })],
  ["three intermediates", () => chainOf(root.intermediate().intermediate().intermediate().issue({ spiffeId: id }))],
  [
    "intermediates in disorder",
    () => {
      const [first, ...rest] = chainOf(
        root.intermediate({ commonName: "a" }).intermediate({ commonName: "b" }).issue({ spiffeId: id }),
      );
      return first === undefined ? [] : [first, ...rest.reverse()];
    },
  ],
  [
    "a path length that is just enough",
    () => chainOf(root.intermediate({ pathLen: 1 }).intermediate({ pathLen: 0 }).issue({ spiffeId: id })),
  ],
  ["the root presented as well", () => [...leaf(), root.certificate]],
  ["an Ed25519 intermediate", () => under({ keyType: "Ed25519" })],
  ["a P-521 intermediate", () => under({ keyType: "P-521" })],
  ["a permitted trust domain", () => constrainedTo({ permittedUris: ["partner.org", "EXAMPLE.org"] })],
  ["a domain that is not the excluded one", () => constrainedTo({ excludedUris: ["partner.org", ".example.org"] })],
  ["an intermediate with both purposes", () => under({ eku: ["serverAuth", "clientAuth"] })],
  [
    "a cross-signed intermediate beside another that leads nowhere",
    () => {
      const stranger = createTestCa("example.org", { nowMs, commonName: "stranger" });
      const issuing = root.intermediate({ commonName: "issuing" });
      const [first, ...rest] = chainOf(issuing.issue({ spiffeId: id }));
      return first === undefined ? [] : [first, stranger.intermediate({ commonName: "issuing" }).certificate, ...rest];
    },
  ],
];

describe("an unusual but sound chain is accepted", () => {
  test.each(goodChains)("%s", (_what, make) => {
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
