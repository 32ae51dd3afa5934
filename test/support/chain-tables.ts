// The tables of chains: every rule broken one at a time, both sides of each limit, and what is unusual and yet sound.
import { generateKeyPairSync, type X509Certificate } from "node:crypto";
import { DerReader, tags } from "../../src/certs/der.ts";
import type { ErrorCode } from "../../src/core/error-codes.ts";
import { createTestCa } from "./cert-factory.ts";
import {
  berTlv,
  bitList,
  bits,
  bool,
  integer,
  nullValue,
  octets,
  oid,
  sequence,
  set,
  tlv,
  utf8,
} from "./der-writer.ts";
import { chainOf, constrainedTo, id, leaf, nowMs, partner, root, rsaLeaf, rsaSpki, under } from "./peer-chains.ts";

const HOUR = 3_600_000;

/** Rewrites one field of tbsCertificate, counted from 0. */
const rewriteField =
  (index: number, rewrite: (raw: Uint8Array) => Uint8Array): ((tbs: Buffer) => Buffer) =>
  (tbs) => {
    const reader = new DerReader(new DerReader(tbs).expect(tags.sequence, "tbs").content);
    const fields: Uint8Array[] = [];
    while (!reader.done) fields.push(reader.read().raw);
    return sequence(...fields.map((field, i) => (i === index ? rewrite(field) : field)));
  };
const extensionsField = 7;
const rewriteExtensions = (rewrite: (list: Uint8Array) => Uint8Array): ((tbs: Buffer) => Buffer) =>
  rewriteField(extensionsField, (raw) => rewrite(new DerReader(raw).expect(0xa3, "extensions").content));

const generalName = (tag: number, content: Uint8Array): Buffer => sequence(tlv(tag, content));
const spiffeUri = tlv(0x86, Buffer.from(id));

export type BadChain = readonly [what: string, code: ErrorCode, make: () => readonly X509Certificate[]];

export const badChains: readonly BadChain[] = [
  ["no certificate", "E_PEER_NO_CERTIFICATE", () => []],
  [
    "more certificates than are looked at",
    "E_CHAIN_TOO_LONG",
    () => [...leaf(), ...Array.from({ length: 8 }, () => root.certificate)],
  ],

  ["no URI SAN", "E_SVID_URI_MISSING", () => leaf({ spiffeId: undefined })],
  ["a DNS SAN alone", "E_SVID_URI_MISSING", () => leaf({ spiffeId: undefined, dnsSans: ["web.shop"] })],
  ["two URI SANs", "E_SVID_URI_SEVERAL", () => leaf({ extraUriSans: ["spiffe://example.org/other"] })],
  ["the same URI SAN twice", "E_SVID_URI_SEVERAL", () => leaf({ extraUriSans: [id] })],
  ["a second URI SAN of another scheme", "E_SVID_URI_SEVERAL", () => leaf({ extraUriSans: ["https://example.org/"] })],
  ["another scheme", "E_SVID_SPIFFE_ID", () => leaf({ spiffeId: "https://example.org/web" })],
  ["an upper-case scheme", "E_SVID_SPIFFE_ID", () => leaf({ spiffeId: "SPIFFE://example.org/web" })],
  ["an upper-case trust domain", "E_SVID_SPIFFE_ID", () => leaf({ spiffeId: "spiffe://Example.org/web" })],
  ["a trust domain with a port", "E_SVID_SPIFFE_ID", () => leaf({ spiffeId: "spiffe://example.org:8443/web" })],
  [
    "a trust domain with user info",
    "E_SVID_SPIFFE_ID",
    () => leaf({ spiffeId: "spiffe://partner.org@example.org/web" }),
  ],
  ["an empty trust domain", "E_SVID_SPIFFE_ID", () => leaf({ spiffeId: "spiffe:///web" })],
  ["a trailing slash", "E_SVID_SPIFFE_ID", () => leaf({ spiffeId: "spiffe://example.org/web/" })],
  ["an empty path segment", "E_SVID_SPIFFE_ID", () => leaf({ spiffeId: "spiffe://example.org//web" })],
  ["a dot segment", "E_SVID_SPIFFE_ID", () => leaf({ spiffeId: "spiffe://example.org/a/../web" })],
  ["percent encoding", "E_SVID_SPIFFE_ID", () => leaf({ spiffeId: "spiffe://example.org/%77eb" })],
  ["a query", "E_SVID_SPIFFE_ID", () => leaf({ spiffeId: "spiffe://example.org/web?x" })],
  ["a NUL in the ID", "E_SVID_SPIFFE_ID", () => leaf({ spiffeId: "spiffe://example.org/web\0.evil" })],
  [
    "an ID of more than 2048 bytes",
    "E_SVID_SPIFFE_ID",
    () => leaf({ spiffeId: `spiffe://example.org/${"a".repeat(2048)}` }),
  ],
  ["an ID without path", "E_SVID_PATH_EMPTY", () => leaf({ spiffeId: "spiffe://example.org" })],

  ["a CA certificate as leaf", "E_SVID_LEAF_IS_CA", () => leaf({ isCa: true, keyUsage: ["digitalSignature"] })],
  ["the authority itself as leaf", "E_SVID_PATH_EMPTY", () => [root.certificate]],
  ["no key usage", "E_SVID_KEY_USAGE_ABSENT", () => leaf({ keyUsage: "absent" })],
  ["a key usage that is not critical", "E_SVID_KEY_USAGE_NOT_CRITICAL", () => leaf({ keyUsageCritical: false })],
  ["a key usage without digitalSignature", "E_SVID_KEY_USAGE_NO_SIGNATURE", () => leaf({ keyUsage: ["keyAgreement"] })],
  ["an empty key usage", "E_SVID_KEY_USAGE_NO_SIGNATURE", () => leaf({ keyUsage: [] })],
  ["keyCertSign on a leaf", "E_SVID_KEY_USAGE_SIGNS", () => leaf({ keyUsage: ["digitalSignature", "keyCertSign"] })],
  ["cRLSign on a leaf", "E_SVID_KEY_USAGE_SIGNS", () => leaf({ keyUsage: ["digitalSignature", "cRLSign"] })],
  ["serverAuth alone", "E_SVID_EXTENDED_KEY_USAGE", () => leaf({ eku: ["serverAuth"] })],
  ["clientAuth alone", "E_SVID_EXTENDED_KEY_USAGE", () => leaf({ eku: ["clientAuth"] })],
  ["any purpose instead of the two", "E_SVID_EXTENDED_KEY_USAGE", () => leaf({ eku: ["any"] })],

  ["an expired leaf", "E_CERT_EXPIRED", () => leaf({ notBefore: nowMs - 2 * HOUR, notAfter: nowMs - HOUR })],
  ["a leaf that expires this very moment", "E_CERT_EXPIRED", () => leaf({ notAfter: nowMs })],
  ["a leaf that is not valid yet", "E_CERT_NOT_YET_VALID", () => leaf({ notBefore: nowMs + 1000 })],
  [
    "validity that ends before it begins",
    "E_CERT_NOT_YET_VALID",
    () => leaf({ notBefore: nowMs + HOUR, notAfter: nowMs - HOUR }),
  ],
  ["an expired intermediate", "E_CERT_EXPIRED", () => under({ notAfter: nowMs - 1000 })],
  ["an intermediate that is not valid yet", "E_CERT_NOT_YET_VALID", () => under({ notBefore: nowMs + 1000 })],

  ["an ECDSA signature with SHA-1", "E_CERT_SIGNATURE_WEAK", () => leaf({ signatureHash: "sha1" })],
  ["an RSA signature with SHA-1", "E_CERT_SIGNATURE_WEAK", () => rsaLeaf({ signatureHash: "sha1" })],
  ["an RSA signature with MD5", "E_CERT_SIGNATURE_WEAK", () => rsaLeaf({ signatureHash: "md5" })],
  ["an intermediate signed with SHA-1", "E_CERT_SIGNATURE_WEAK", () => under({ signatureHash: "sha1" })],
  [
    "two signature algorithms",
    "E_CERT_SIGNATURE_MISMATCH",
    () => leaf({ outerAlgorithm: sequence(oid("1.2.840.10045.4.3.3")) }),
  ],
  [
    "parameters on an ECDSA signature",
    "E_CERT_SIGNATURE_WEAK",
    () =>
      leaf({
        rewriteTbs: rewriteField(2, () => sequence(oid("1.2.840.10045.4.3.2"), nullValue())),
        outerAlgorithm: sequence(oid("1.2.840.10045.4.3.2"), nullValue()),
      }),
  ],
  ["an RSA key of 1024 bits", "E_CERT_KEY_SIZE", () => leaf({ keyType: "RSA-1024" })],
  ["an RSA key of 2047 bits", "E_CERT_KEY_SIZE", () => leaf({ publicKeyDer: rsaSpki(2047, 65537) })],
  ["an RSA key of 8192 bits", "E_CERT_KEY_SIZE", () => leaf({ publicKeyDer: rsaSpki(8192, 65537) })],
  ["an RSA key with exponent 1", "E_CERT_KEY_UNSOUND", () => leaf({ publicKeyDer: rsaSpki(2048, 1) })],
  ["an intermediate with an RSA key of 1024 bits", "E_CERT_KEY_SIZE", () => under({ keyType: "RSA-1024" })],
  ["a key on P-224", "E_CERT_KEY_CURVE", () => leaf({ keyType: "P-224" })],
  ["a key on secp256k1", "E_CERT_KEY_CURVE", () => leaf({ keyType: "secp256k1" })],
  ["explicit curve parameters", "E_CERT_KEY_EXPLICIT_CURVE", () => leaf({ keyType: "P-256-explicit" })],
  [
    "an intermediate with explicit curve parameters",
    "E_CERT_KEY_EXPLICIT_CURVE",
    () => under({ keyType: "P-256-explicit" }),
  ],
  ["an Ed448 key", "E_CERT_KEY_TYPE", () => leaf({ keyType: "Ed448" })],
  ["an RSA-PSS key", "E_CERT_KEY_TYPE", () => leaf({ keyType: "RSA-PSS-2048" })],
  [
    "a DSA key",
    "E_CERT_KEY_TYPE",
    () => {
      const { publicKey } = generateKeyPairSync("dsa", { modulusLength: 1024, divisorLength: 160 });
      return leaf({ publicKeyDer: publicKey.export({ type: "spki", format: "der" }) });
    },
  ],

  [
    "an unknown critical extension",
    "E_CERT_EXTENSION_CRITICAL",
    () => leaf({ extraExtensions: [{ oid: "1.2.3.4", critical: true, value: nullValue() }] }),
  ],
  [
    "critical policy constraints on an intermediate",
    "E_CERT_EXTENSION_CRITICAL",
    () =>
      under({ extraExtensions: [{ oid: "2.5.29.36", critical: true, value: sequence(tlv(0x80, Buffer.from([0]))) }] }),
  ],
  ["X.509 version 1", "E_CERT_VERSION", () => leaf({ version: 1 })],
  ["X.509 version 2", "E_CERT_VERSION", () => leaf({ version: 2 })],
  ["X.509 version 4", "E_CERT_VERSION", () => leaf({ rewriteTbs: rewriteField(0, () => tlv(0xa0, integer(3))) })],

  ["an intermediate that is no CA", "E_CHAIN_NOT_CA", () => under({ isCa: false })],
  ["an intermediate without basic constraints", "E_CHAIN_NOT_CA", () => under({ basicConstraints: false })],
  ["an intermediate without key usage", "E_CHAIN_KEY_USAGE_ABSENT", () => under({ keyUsage: "absent" })],
  [
    "an intermediate without keyCertSign",
    "E_CHAIN_KEY_USAGE",
    () => under({ keyUsage: ["digitalSignature", "cRLSign"] }),
  ],
  ["an intermediate for code signing", "E_CHAIN_EXTENDED_KEY_USAGE", () => under({ eku: ["codeSigning"] })],
  [
    "a path length of 0 above another CA",
    "E_CHAIN_PATH_LENGTH",
    () => chainOf(root.intermediate({ pathLen: 0 }).intermediate().issue({ spiffeId: id })),
  ],
  [
    "a leaf that issues a leaf",
    "E_CHAIN_NOT_CA",
    () => under({ isCa: false, keyUsage: ["digitalSignature"], spiffeId: id }),
  ],

  ["a trust domain without bundle", "E_CHAIN_NO_BUNDLE", () => leaf({ spiffeId: "spiffe://unknown.org/web" })],
  ["a CA of another trust domain", "E_CHAIN_UNTRUSTED", () => chainOf(partner.issue({ spiffeId: id }))],
  ["another trust domain's ID from our CA", "E_CHAIN_UNTRUSTED", () => leaf({ spiffeId: "spiffe://partner.org/web" })],
  [
    "an unknown CA",
    "E_CHAIN_UNTRUSTED",
    () => chainOf(createTestCa("example.org", { nowMs, commonName: "stranger" }).issue({ spiffeId: id })),
  ],
  [
    "an unknown CA with the name of an authority",
    "E_CHAIN_SIGNATURE",
    () => chainOf(createTestCa("example.org", { nowMs }).issue({ spiffeId: id })),
  ],
  ["an authority's name and another's signature", "E_CHAIN_SIGNATURE", () => leaf({ signedBy: partner })],
  [
    "a self-signed leaf",
    "E_CHAIN_UNTRUSTED",
    () => {
      const self = createTestCa("example.org", {
        nowMs,
        commonName: "self",
        isCa: false,
        keyUsage: ["digitalSignature"],
        spiffeId: id,
      });
      return [self.certificate];
    },
  ],
  [
    "a missing intermediate",
    "E_CHAIN_UNTRUSTED",
    () => chainOf(root.intermediate().issue({ spiffeId: id })).slice(0, 1),
  ],
  [
    "an unknown root that is presented as well",
    "E_CHAIN_UNTRUSTED",
    () => {
      const stranger = createTestCa("example.org", { nowMs, commonName: "stranger" });
      return [...chainOf(stranger.issue({ spiffeId: id })), stranger.certificate];
    },
  ],
  ["the intermediate before the leaf", "E_SVID_PATH_EMPTY", () => under({}).reverse()],

  [
    "a trust domain that an intermediate does not permit",
    "E_CHAIN_NAME_CONSTRAINTS",
    () => constrainedTo({ permittedUris: ["partner.org"] }),
  ],
  [
    "a trust domain that an intermediate excludes",
    "E_CHAIN_NAME_CONSTRAINTS",
    () => constrainedTo({ excludedUris: ["example.org"] }),
  ],
  [
    "a constraint to hosts below, met by the host itself",
    "E_CHAIN_NAME_CONSTRAINTS",
    () => constrainedTo({ permittedUris: [".example.org"] }),
  ],
  ["a constraint that is no host", "E_CERT_DER", () => constrainedTo({ excludedUris: ["spiffe://example.org"] })],
  [
    "a DNS name beside the ID that is not permitted",
    "E_CHAIN_NAME_CONSTRAINTS",
    () =>
      under(
        {
          extraExtensions: [
            {
              oid: "2.5.29.30",
              critical: true,
              value: sequence(tlv(0xa0, generalName(0x82, Buffer.from("shop.svc")))),
            },
          ],
        },
        { dnsSans: ["web.shop.svc", "evil.svc"] },
      ),
  ],
  [
    "an excluded directory name in other letters",
    "E_CHAIN_NAME_CONSTRAINTS",
    () => {
      const excluded = sequence(
        set(sequence(oid("2.5.4.6"), tlv(0x13, Buffer.from("US")))),
        set(sequence(oid("2.5.4.3"), utf8("WORK  LOAD"))),
      );
      return under(
        {
          extraExtensions: [
            { oid: "2.5.29.30", critical: true, value: sequence(tlv(0xa1, generalName(0xa4, excluded))) },
          ],
        },
        { commonName: "Work Load" },
      );
    },
  ],

  [
    "a leaf with an extension twice",
    "E_CERT_EXTENSION_DUPLICATE",
    () =>
      leaf({
        extraExtensions: [{ oid: "2.5.29.17", value: sequence(tlv(0x86, Buffer.from("spiffe://example.org/admin"))) }],
      }),
  ],
  [
    "an intermediate with basic constraints twice",
    "E_CERT_EXTENSION_DUPLICATE",
    () => under({ extraExtensions: [{ oid: "2.5.29.19", critical: true, value: sequence() }] }),
  ],
  [
    "a length in BER form",
    "E_CERT_DER",
    () => leaf({ rewriteTbs: rewriteField(4, (raw) => berTlv(0x30, new DerReader(raw).read().content)) }),
  ],
  [
    "an indefinite length",
    "E_CERT_DER",
    () =>
      leaf({
        rewriteTbs: rewriteField(4, (raw) =>
          Buffer.concat([Buffer.from([0x30, 0x80]), new DerReader(raw).read().content, Buffer.from([0, 0])]),
        ),
      }),
  ],
  [
    "bytes after an extension's value",
    "E_CERT_DER",
    () => {
      const value = Buffer.concat([
        sequence(oid("1.3.6.1.5.5.7.3.1"), oid("1.3.6.1.5.5.7.3.2")),
        Buffer.from([0x05, 0x00]),
      ]);
      return leaf({ eku: "absent", extraExtensions: [{ oid: "2.5.29.37", value }] });
    },
  ],
  [
    "a BER length inside the SAN",
    "E_CERT_DER",
    () =>
      leaf({
        spiffeId: undefined,
        extraExtensions: [{ oid: "2.5.29.17", value: sequence(berTlv(0x86, Buffer.from(id))) }],
      }),
  ],
  [
    "an empty SAN",
    "E_CERT_DER",
    () => leaf({ spiffeId: undefined, extraExtensions: [{ oid: "2.5.29.17", value: sequence() }] }),
  ],
  [
    "a critical flag that writes its default out",
    "E_CERT_DER",
    () =>
      leaf({
        rewriteTbs: rewriteExtensions((list) => {
          const extra = sequence(oid("1.2.3.4"), bool(false), octets(nullValue()));
          return tlv(0xa3, sequence(new DerReader(list).read().content, extra));
        }),
      }),
  ],
  [
    "cA FALSE written out",
    "E_CERT_DER",
    () =>
      leaf({
        basicConstraints: false,
        extraExtensions: [{ oid: "2.5.29.19", critical: true, value: sequence(bool(false)) }],
      }),
  ],
  [
    "a BOOLEAN TRUE that is 01",
    "E_CERT_DER",
    () =>
      leaf({
        basicConstraints: false,
        extraExtensions: [{ oid: "2.5.29.19", critical: true, value: sequence(tlv(1, Buffer.from([1]))) }],
      }),
  ],
  [
    "a key usage with a spare zero byte",
    "E_CERT_DER",
    () =>
      leaf({
        keyUsage: "absent",
        extraExtensions: [{ oid: "2.5.29.15", critical: true, value: bits(Buffer.from([0x80, 0])) }],
      }),
  ],
  [
    "a key usage with unused bits set",
    "E_CERT_DER",
    () =>
      leaf({
        keyUsage: "absent",
        extraExtensions: [{ oid: "2.5.29.15", critical: true, value: bits(Buffer.from([0x81]), 7) }],
      }),
  ],
  ["a serial number of 21 bytes", "E_CERT_DER", () => leaf({ serial: 1n << 167n })],
  [
    "a negative serial number",
    "E_CERT_DER",
    () => leaf({ rewriteTbs: rewriteField(1, () => tlv(2, Buffer.from([0x85]))) }),
  ],
  [
    "a time with an offset",
    "E_CERT_DER",
    () =>
      leaf({
        rewriteTbs: rewriteField(4, () =>
          sequence(tlv(0x17, Buffer.from("290101000000+0000")), tlv(0x17, Buffer.from("310101000000Z"))),
        ),
      }),
  ],
  [
    "the 31st of February",
    "E_CERT_DER",
    () =>
      leaf({
        rewriteTbs: rewriteField(4, () =>
          sequence(tlv(0x17, Buffer.from("290231000000Z")), tlv(0x17, Buffer.from("310101000000Z"))),
        ),
      }),
  ],
  [
    "a SAN that holds something else than names",
    "E_CERT_DER",
    () =>
      leaf({ spiffeId: undefined, extraExtensions: [{ oid: "2.5.29.17", value: sequence(spiffeUri, bitList([0])) }] }),
  ],
];

/** What is unusual and yet sound. */
export const unusualChains: readonly (readonly [what: string, make: () => readonly X509Certificate[]])[] = [
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
