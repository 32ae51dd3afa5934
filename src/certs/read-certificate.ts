import type { ErrorCode } from "../core/error-codes.ts";
import {
  checkStrict,
  DerError,
  DerReader,
  readBitString,
  readBoolean,
  readOid,
  readSmall,
  readTime,
  readUnsigned,
  readWhole,
  tags,
} from "./der.ts";
import type { GeneralName } from "./general-name.ts";
import { type NameConstraints, readNameConstraints } from "./name-constraints.ts";
import { type PublicKeyFacts, readPublicKey } from "./public-key.ts";
import { readSignatureAlgorithm, type SignatureFacts } from "./signature-algorithm.ts";

/** What a certificate says, read strictly from its DER. Nothing here is judged yet: see svid-rules.ts. */
export interface CertificateFacts {
  readonly der: Uint8Array;
  /** Lower-case hex without leading zeros. */
  readonly serial: string;
  readonly signature: SignatureFacts;
  /** Whether the signed and the unsigned signature algorithm are the same bytes. */
  readonly signatureAlgorithmsAgree: boolean;
  /** Name in DER: compared byte for byte, as RFC 5280 wants issuers to copy it. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly publicKey: PublicKeyFacts;
  readonly basicConstraints: { readonly isCa: boolean; readonly pathLength: number | undefined } | undefined;
  readonly keyUsage: { readonly isCritical: boolean; readonly bits: number } | undefined;
  /** OIDs, or undefined without the extension. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly subjectAltNames: readonly GeneralName[];
  readonly nameConstraints: NameConstraints | undefined;
  /** OIDs of critical extensions that nobody here understands. */
  readonly unknownCritical: readonly string[];
}

/** Bits of keyUsage (RFC 5280 section 4.2.1.3); bit 0 is the lowest. */
export const keyUsageBits = { digitalSignature: 1 << 0, keyCertSign: 1 << 5, cRLSign: 1 << 6 } as const;

/** A certificate that cannot be read. `code` says which rule it breaks. */
export class CertificateError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

const extensionIds = {
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  nameConstraints: "2.5.29.30",
  certificatePolicies: "2.5.29.32",
  extendedKeyUsage: "2.5.29.37",
} as const;
const knownExtensions: ReadonlySet<string> = new Set(Object.values(extensionIds));

/** Longest certificate that is read, in bytes. */
const MAX_CERTIFICATE_BYTES = 64 * 1024;
const MAX_SERIAL_BYTES = 20;

/** Reads one certificate, which must fill `der` wholly (RFC 5280 section 4.1). Throws CertificateError. */
export function readCertificate(der: Uint8Array): CertificateFacts {
  if (der.length > MAX_CERTIFICATE_BYTES)
    throw new CertificateError("E_CERT_DER", `is longer than ${MAX_CERTIFICATE_BYTES} bytes`);
  try {
    return readStrictly(der);
  } catch (error) {
    if (error instanceof DerError) throw new CertificateError("E_CERT_DER", error.message);
    throw error;
  }
}

function readStrictly(der: Uint8Array): CertificateFacts {
  const certificate = readWhole(der, tags.sequence, "certificate");
  checkStrict(certificate);
  const outer = new DerReader(certificate.content);
  const tbs = new DerReader(outer.expect(tags.sequence, "tbsCertificate").content);
  const outerAlgorithm = outer.expect(tags.sequence, "signatureAlgorithm");
  if (readBitString(outer.expect(tags.bitString, "signature")).unused !== 0)
    throw new DerError("has a signature that is not whole bytes");
  outer.end("the signature");

  readVersion(tbs);
  const serial = readUnsigned(tbs.expect(tags.integer, "serial number"), "serial number");
  if (serial.length > MAX_SERIAL_BYTES) throw new DerError("has a serial number of more than 20 bytes");
  const innerAlgorithm = tbs.expect(tags.sequence, "signature algorithm");
  const issuer = tbs.expect(tags.sequence, "issuer").raw;
  const validity = new DerReader(tbs.expect(tags.sequence, "validity").content);
  const notBeforeMs = readTime(validity.read());
  const notAfterMs = readTime(validity.read());
  validity.end("validity");
  const subject = tbs.expect(tags.sequence, "subject").raw;
  const publicKey = readPublicKey(tbs.expect(tags.sequence, "public key"));
  tbs.optional(0x81); // issuerUniqueID
  tbs.optional(0x82); // subjectUniqueID
  const extensions = readExtensions(tbs);
  tbs.end("the extensions");
  return {
    der,
    serial: Buffer.from(serial)
      .toString("hex")
      .replace(/^0+(?=.)/, ""),
    signature: readSignatureAlgorithm(innerAlgorithm),
    signatureAlgorithmsAgree: Buffer.compare(innerAlgorithm.raw, outerAlgorithm.raw) === 0,
    issuer,
    notBeforeMs,
    notAfterMs,
    subject,
    publicKey,
    ...interpret(extensions),
  };
}

function readVersion(tbs: DerReader): void {
  const wrapper = tbs.optional(0xa0);
  const version = wrapper === undefined ? 0 : readSmall(readWhole(wrapper.content, tags.integer, "version"), "version");
  if (version !== 2) throw new CertificateError("E_CERT_VERSION", `is of X.509 version ${version + 1}, not 3`);
}

interface Extension {
  readonly isCritical: boolean;
  readonly value: Uint8Array;
}

function readExtensions(tbs: DerReader): ReadonlyMap<string, Extension> {
  const found = new Map<string, Extension>();
  const wrapper = tbs.optional(0xa3);
  if (wrapper === undefined) return found;
  const list = new DerReader(readWhole(wrapper.content, tags.sequence, "list of extensions").content);
  if (list.done) throw new DerError("has an empty list of extensions");
  while (!list.done) {
    const extension = new DerReader(list.expect(tags.sequence, "extension").content);
    const id = readOid(extension.expect(tags.oid, "extension id"));
    const critical = extension.optional(tags.boolean);
    if (critical !== undefined && !readBoolean(critical)) throw new DerError("writes out the default of critical");
    const value = extension.expect(tags.octetString, "extension value").content;
    extension.end("an extension");
    if (found.has(id)) throw new CertificateError("E_CERT_EXTENSION_DUPLICATE", `has the extension ${id} twice`);
    found.set(id, { isCritical: critical !== undefined, value });
  }
  return found;
}

type Interpreted = Pick<
  CertificateFacts,
  "basicConstraints" | "keyUsage" | "extendedKeyUsage" | "subjectAltNames" | "nameConstraints" | "unknownCritical"
>;

function interpret(extensions: ReadonlyMap<string, Extension>): Interpreted {
  const constraints = extensions.get(extensionIds.basicConstraints);
  const usage = extensions.get(extensionIds.keyUsage);
  const extended = extensions.get(extensionIds.extendedKeyUsage);
  const names = extensions.get(extensionIds.subjectAltName);
  const subtrees = extensions.get(extensionIds.nameConstraints);
  return {
    basicConstraints: constraints && readBasicConstraints(constraints.value),
    keyUsage: usage && { isCritical: usage.isCritical, bits: readKeyUsage(usage.value) },
    extendedKeyUsage: extended && readExtendedKeyUsage(extended.value),
    subjectAltNames: names === undefined ? [] : readGeneralNames(names.value),
    nameConstraints: subtrees && readNameConstraints(subtrees.value),
    unknownCritical: [...extensions].flatMap(([id, { isCritical }]) =>
      isCritical && !knownExtensions.has(id) ? [id] : [],
    ),
  };
}

/** The SEQUENCE that an extension's value must be, checked inside as strictly as the certificate around it. */
function sequenceOf(value: Uint8Array, what: string): DerReader {
  const element = readWhole(value, tags.sequence, what);
  checkStrict(element);
  return new DerReader(element.content);
}

function readBasicConstraints(value: Uint8Array): { isCa: boolean; pathLength: number | undefined } {
  const reader = sequenceOf(value, "basicConstraints");
  const ca = reader.optional(tags.boolean);
  if (ca !== undefined && !readBoolean(ca)) throw new DerError("writes out the default of cA");
  const length = reader.optional(tags.integer);
  reader.end("basicConstraints");
  if (length !== undefined && ca === undefined) throw new DerError("has a path length without being a CA");
  return { isCa: ca !== undefined, pathLength: length && readSmall(length, "path length") };
}

function readKeyUsage(value: Uint8Array): number {
  const { bytes, unused } = readBitString(readWhole(value, tags.bitString, "keyUsage"));
  if (bytes.length > 2) throw new DerError("has a keyUsage of more than 16 bits");
  const last = bytes[bytes.length - 1];
  // A named bit list ends with a bit that is set (X.690 section 11.2.2).
  if (last !== undefined && ((last >> unused) & 1) === 0) throw new DerError("has a keyUsage with trailing zero bits");
  let bits = 0;
  for (let i = 0; i < bytes.length * 8; i++) if (((bytes[i >> 3] ?? 0) & (0x80 >> (i & 7))) !== 0) bits |= 1 << i;
  return bits;
}

function readExtendedKeyUsage(value: Uint8Array): string[] {
  const reader = sequenceOf(value, "extendedKeyUsage");
  const found: string[] = [];
  while (!reader.done) found.push(readOid(reader.expect(tags.oid, "purpose")));
  if (found.length === 0) throw new DerError("has an empty extendedKeyUsage");
  return found;
}

function readGeneralNames(value: Uint8Array): GeneralName[] {
  const reader = sequenceOf(value, "subjectAltName");
  const found: GeneralName[] = [];
  while (!reader.done) {
    const { tag, content } = reader.read();
    if ((tag & 0xc0) !== 0x80) throw new DerError("has something else than a name in subjectAltName");
    found.push({ kind: tag & 0x1f, content });
  }
  if (found.length === 0) throw new DerError("has an empty subjectAltName");
  return found;
}
