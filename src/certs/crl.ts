import { verify, type X509Certificate } from "node:crypto";
import { CountersignError } from "../core/errors.ts";
import {
  checkStrict,
  DerError,
  DerReader,
  readBitString,
  readOid,
  readTime,
  readUnsigned,
  readWhole,
  tags,
} from "./der.ts";
import { readSignatureAlgorithm } from "./signature-algorithm.ts";

/** A certificate revocation list, parsed. Whether its signature holds is asked per issuer: see isCrlOf. */
export interface Crl {
  /** Issuer Name in DER. */
  readonly issuer: Uint8Array;
  readonly thisUpdateMs: number;
  readonly nextUpdateMs: number | undefined;
  /** Lower-case hex without leading zeros. */
  readonly serials: ReadonlySet<string>;
  readonly tbs: Uint8Array;
  readonly signature: Uint8Array;
  readonly algorithm: string;
}

const DELTA_INDICATOR = "2.5.29.27";
const ISSUING_DISTRIBUTION_POINT = "2.5.29.28";
/** indirectCRL, [4] of issuingDistributionPoint. */
const INDIRECT = 0x84;

const digests: Readonly<Record<string, string | null>> = {
  "ecdsa-with-SHA256": "sha256",
  "ecdsa-with-SHA384": "sha384",
  "ecdsa-with-SHA512": "sha512",
  sha256WithRSAEncryption: "sha256",
  sha384WithRSAEncryption: "sha384",
  sha512WithRSAEncryption: "sha512",
  Ed25519: null,
};

/** Reads a complete, direct CRL (RFC 5280 section 5.1). A list that narrows its own scope is taken: what it names is
 *  revoked all the same. Throws CountersignError E_CRL_FORMAT. */
export function readCrl(der: Uint8Array): Crl {
  try {
    return readStrictly(der);
  } catch (error) {
    if (error instanceof DerError)
      throw new CountersignError("E_CRL_FORMAT", `a CRL ${error.message}`, { cause: error });
    throw error;
  }
}

function readStrictly(der: Uint8Array): Crl {
  const list = readWhole(der, tags.sequence, "CRL");
  checkStrict(list);
  const outer = new DerReader(list.content);
  const tbsElement = outer.expect(tags.sequence, "tbsCertList");
  const outerAlgorithm = outer.expect(tags.sequence, "signature algorithm");
  const signature = readBitString(outer.expect(tags.bitString, "signature")).bytes;
  outer.end("the signature");
  const tbs = new DerReader(tbsElement.content);
  tbs.optional(tags.integer); // version
  const innerAlgorithm = tbs.expect(tags.sequence, "signature algorithm");
  const { name, isAccepted } = readSignatureAlgorithm(innerAlgorithm);
  if (!isAccepted || !Object.hasOwn(digests, name)) throw new DerError(`is signed with ${name}`);
  if (Buffer.compare(innerAlgorithm.raw, outerAlgorithm.raw) !== 0)
    throw new DerError("names two different signature algorithms");
  const issuer = tbs.expect(tags.sequence, "issuer").raw;
  const thisUpdateMs = readTime(tbs.read());
  const nextUpdateMs = tbs.next(tags.utcTime) || tbs.next(tags.generalizedTime) ? readTime(tbs.read()) : undefined;
  const entries = tbs.optional(tags.sequence);
  const serials = new Set<string>();
  if (entries !== undefined) {
    const reader = new DerReader(entries.content);
    while (!reader.done) {
      const entry = new DerReader(reader.expect(tags.sequence, "entry").content);
      const serial = readUnsigned(entry.expect(tags.integer, "serial number"), "serial number");
      serials.add(
        Buffer.from(serial)
          .toString("hex")
          .replace(/^0+(?=.)/, ""),
      );
    }
  }
  checkExtensions(tbs.optional(0xa0)?.content);
  tbs.end("the extensions");
  return { issuer, thisUpdateMs, nextUpdateMs, serials, tbs: tbsElement.raw, signature, algorithm: name };
}

function checkExtensions(content: Uint8Array | undefined): void {
  if (content === undefined) return;
  const list = new DerReader(readWhole(content, tags.sequence, "list of extensions").content);
  while (!list.done) {
    const extension = new DerReader(list.expect(tags.sequence, "extension").content);
    const id = readOid(extension.expect(tags.oid, "extension id"));
    extension.optional(tags.boolean);
    const value = extension.expect(tags.octetString, "extension value").content;
    if (id === DELTA_INDICATOR) throw new DerError("is a delta CRL");
    if (id === ISSUING_DISTRIBUTION_POINT) {
      const point = new DerReader(readWhole(value, tags.sequence, "issuingDistributionPoint").content);
      while (!point.done) if (point.read().tag === INDIRECT) throw new DerError("is an indirect CRL");
    }
  }
}

/** Whether `issuer` signed this CRL. The name must be equal byte for byte and the signature must hold; its key usage is
 *  not asked, since a revocation is rather believed than missed. */
export function isCrlOf(
  crl: Crl,
  issuer: { readonly subject: Uint8Array; readonly certificate: X509Certificate },
): boolean {
  if (Buffer.compare(crl.issuer, issuer.subject) !== 0) return false;
  try {
    return verify(digests[crl.algorithm], crl.tbs, issuer.certificate.publicKey, crl.signature);
  } catch {
    return false; // a key of another kind than the signature's
  }
}
