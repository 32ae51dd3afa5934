import { X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { createTestCa, type TestCa, type TestIssued } from "../../test/support/cert-factory.ts";
import { integer, nullValue, octets, oid, sequence, tlv } from "../../test/support/der-writer.ts";
import type { TrustBundle } from "../core/identity.ts";
import { parseTrustDomain } from "../core/spiffe-id.ts";
import { readCrl } from "./crl.ts";
import { bundleWarnings, makeTrustBundle } from "./trust-bundle.ts";
import { verifyPeerChain } from "./verify-peer.ts";

const nowMs = Date.UTC(2030, 0, 1);
const domain = parseTrustDomain("example.org");
const root = createTestCa("example.org", { nowMs });
const middle = root.intermediate();

const bundleWith = (...crls: Uint8Array[]): TrustBundle => makeTrustBundle(domain, [root.der], crls);
const verdictOf = (issued: TestIssued, bundle: TrustBundle): unknown =>
  verifyPeerChain(
    issued.chainDer.map((der) => new X509Certificate(der)),
    new Map([[domain, bundle]]),
    nowMs,
  );
const serialOf = (issued: TestIssued): bigint => BigInt(`0x${issued.certificate.serialNumber}`);
const revoked = { kind: "refused", code: "E_PEER_REVOKED" };
const verified = { kind: "verified" };

test("a leaf on its issuer's list is refused, its sibling is not", () => {
  const [bad, good] = [root.issue(), root.issue()];
  const bundle = bundleWith(root.crl({ serials: [1n, serialOf(bad), 2n] }));
  expect(verdictOf(bad, bundle)).toMatchObject(revoked);
  expect(verdictOf(good, bundle)).toMatchObject(verified);
});

test("an intermediate on its issuer's list is refused with all below it", () => {
  expect(verdictOf(middle.issue(), bundleWith(root.crl({ serials: [serialOf(middle)] })))).toMatchObject(revoked);
});

test("an intermediate's own list counts for what it issued, and for nothing else", () => {
  const below = middle.issue();
  const beside = root.issue({ serial: serialOf(below) });
  const bundle = bundleWith(middle.crl({ serials: [serialOf(below)] }));
  expect(verdictOf(below, bundle)).toMatchObject(revoked);
  expect(verdictOf(beside, bundle)).toMatchObject(verified);
});

test("a list in the issuer's name with another's signature is not honoured, and is warned about", () => {
  const leaf = root.issue();
  const forger = createTestCa("example.org", { nowMs });
  const bundle = bundleWith(root.crl({ serials: [serialOf(leaf)], signedBy: forger }));
  expect(verdictOf(leaf, bundle)).toMatchObject(verified);
  expect(bundleWarnings(bundle, nowMs).map(({ code }) => code)).toEqual(["W_CRL_SIGNATURE"]);
});

test("a list past its next update is still honoured, with a warning", () => {
  const leaf = root.issue();
  const bundle = bundleWith(root.crl({ serials: [serialOf(leaf)], nextUpdate: nowMs - 1000 }));
  expect(verdictOf(leaf, bundle)).toMatchObject(revoked);
  expect(bundleWarnings(bundle, nowMs).map(({ code }) => code)).toEqual(["W_CRL_OUTDATED"]);
});

test("an issuer without a list, or with an empty one, revokes nothing", () => {
  expect(verdictOf(root.issue(), bundleWith())).toMatchObject(verified);
  expect(verdictOf(root.issue(), bundleWith(root.crl({ serials: [] })))).toMatchObject(verified);
  expect(bundleWarnings(bundleWith(root.crl({ serials: [] })), nowMs)).toEqual([]);
});

test.each(["P-384", "P-521", "Ed25519", "RSA-2048"] as const)("a list signed with %s is honoured", (keyType) => {
  const ca: TestCa = createTestCa("example.org", { nowMs, keyType });
  const leaf = ca.issue();
  const bundle = makeTrustBundle(domain, [ca.der], [ca.crl({ serials: [serialOf(leaf)] })]);
  expect(verdictOf(leaf, bundle)).toMatchObject(revoked);
});

/** An unsigned CRL of nobody with one critical extension. */
const extended = (id: string, value: Uint8Array): Uint8Array => {
  const algorithm = sequence(oid("1.2.840.10045.4.3.2"));
  const tbs = sequence(
    integer(1),
    algorithm,
    sequence(),
    tlv(0x17, Buffer.from("300101000000Z")),
    tlv(0xa0, sequence(sequence(oid(id), tlv(1, Buffer.from([0xff])), octets(value)))),
  );
  return sequence(tbs, algorithm, tlv(3, Buffer.from([0])));
};

test.each([
  ["trailing bytes", () => root.crl({ serials: [], trailing: Buffer.from([0]) }), "left over"],
  ["bytes that are no CRL", () => Buffer.from("no CRL"), "no CRL"],
  ["a delta CRL", () => extended("2.5.29.27", integer(1)), "delta"],
  ["an indirect CRL", () => extended("2.5.29.28", sequence(tlv(0x84, Buffer.from([0xff])))), "indirect"],
  ["a certificate", () => root.der, "a CRL"],
] as const)("%s is no usable list", (_what, make, reason) => {
  expect(() => readCrl(make())).toThrow(
    expect.objectContaining({ code: "E_CRL_FORMAT", message: expect.stringContaining(reason) }),
  );
});

test("a list for one distribution point is taken: what it names is revoked all the same", () => {
  expect(readCrl(extended("2.5.29.28", sequence(tlv(0x81, Buffer.from([0xff]))))).serials.size).toBe(0);
});

test("a bundle's version changes with its authorities and with its lists", () => {
  const other = createTestCa("example.org", { nowMs });
  const crl = root.crl({ serials: [] });
  const versions = [
    bundleWith(),
    bundleWith(crl),
    makeTrustBundle(domain, [root.der, other.der]),
    makeTrustBundle(domain, []),
  ];
  expect(new Set(versions.map(({ version }) => version)).size).toBe(4);
  expect(bundleWith(crl).version).toBe(bundleWith(crl).version);
});

test.each([
  ["bytes left over", Buffer.concat([root.der, Buffer.from([0])])],
  ["PEM where DER belongs", Buffer.from(root.certPem)],
  ["something else in DER", sequence(nullValue())],
])("a bundle with %s is refused", (_what, der) => {
  expect(() => makeTrustBundle(domain, [der])).toThrow(expect.objectContaining({ code: "E_BUNDLE_FORMAT" }));
});
