import { expect, test } from "vitest";
import { integer, nullValue, oid, sequence, tlv } from "../../test/support/der-writer.ts";
import { readWhole, tags } from "./der.ts";
import { readSignatureAlgorithm } from "./signature-algorithm.ts";

const SHA1 = "1.3.14.3.2.26";
const SHA256 = "2.16.840.1.101.3.4.2.1";
const SHA384 = "2.16.840.1.101.3.4.2.2";
const read = (der: Uint8Array): ReturnType<typeof readSignatureAlgorithm> =>
  readSignatureAlgorithm(readWhole(der, tags.sequence, "signature algorithm"));
const pss = (hash: string, mgfHash: string, salt: number, mgf = "1.2.840.113549.1.1.8"): Uint8Array =>
  sequence(
    oid("1.2.840.113549.1.1.10"),
    sequence(
      tlv(0xa0, sequence(oid(hash), nullValue())),
      tlv(0xa1, sequence(oid(mgf), sequence(oid(mgfHash), nullValue()))),
      tlv(0xa2, integer(salt)),
    ),
  );

test.each<readonly [what: string, der: Uint8Array, isAccepted: boolean]>([
  ["RSASSA-PSS with one SHA-2 hash", pss(SHA256, SHA256, 32), true],
  ["RSASSA-PSS with SHA-1", pss(SHA1, SHA1, 20), false],
  ["RSASSA-PSS with two hashes", pss(SHA256, SHA384, 32), false],
  ["RSASSA-PSS whose mask hashes with SHA-1", pss(SHA256, SHA1, 32), false],
  ["RSASSA-PSS with another mask function", pss(SHA256, SHA256, 32, "1.2.3.4"), false],
  ["RSASSA-PSS with a salt shorter than its hash", pss(SHA256, SHA256, 0), false],
  ["RSASSA-PSS with default parameters, which are SHA-1", sequence(oid("1.2.840.113549.1.1.10"), sequence()), false],
  ["RSASSA-PSS without parameters", sequence(oid("1.2.840.113549.1.1.10")), false],
  ["SHA-256 with RSA", sequence(oid("1.2.840.113549.1.1.11"), nullValue()), true],
  ["SHA-256 with RSA and no NULL", sequence(oid("1.2.840.113549.1.1.11")), false],
  ["Ed25519", sequence(oid("1.3.101.112")), true],
  ["Ed25519 with parameters", sequence(oid("1.3.101.112"), nullValue()), false],
  ["Ed448", sequence(oid("1.3.101.113")), false],
  ["SHA-224 with ECDSA", sequence(oid("1.2.840.10045.4.3.1")), false],
  ["something unknown", sequence(oid("1.2.3.4")), false],
])("%s", (_what, der, isAccepted) => {
  expect(read(der).isAccepted).toBe(isAccepted);
});
