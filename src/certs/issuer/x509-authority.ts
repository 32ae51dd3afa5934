import { generateKeyPair, type KeyObject, randomBytes, X509Certificate } from "node:crypto";
import { promisify } from "node:util";
import type { SpiffeId, TrustDomain } from "../../core/spiffe-id.ts";
import type { Term } from "./authority-terms.ts";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from "./x509-library.ts";

/** A CA of the trust domain: it signs X.509-SVIDs directly. The key is secret. */
export interface X509Authority extends Term {
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
}

/** An X.509-SVID and its secret key, in the forms that the Workload API carries. */
export interface IssuedX509Svid {
  readonly spiffeId: SpiffeId;
  /** DER, the leaf alone: the CA that signed it is an authority of the bundle. */
  readonly chainDer: Uint8Array;
  /** PKCS#8 DER. Secret. */
  readonly keyDer: Uint8Array;
  /** Lower-case hex without leading zeros. */
  readonly serial: string;
  readonly issuedMs: number;
  readonly notAfterMs: number;
}

/** Certificates begin this much earlier, for verifiers whose clock is behind. */
const BACKDATE_MS = 30_000;
const SERIAL_BYTES = 16;
const ECDSA = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

const generate = promisify(generateKeyPair);

/** Makes a CA certificate as the SPIFFE X.509-SVID standard asks (section 4.2): the trust domain's own ID as its one URI SAN,
 *  CA true, key usage critical with keyCertSign and cRLSign alone. */
export async function createX509Authority(
  trustDomain: TrustDomain,
  ttlMs: number,
  nowMs: number,
): Promise<X509Authority> {
  const { publicKey, privateKey } = await generate("ec", { namedCurve: ECDSA.namedCurve });
  const serial = randomSerial();
  // Every CA has its own name, so that path building never tries one in place of another.
  const name = `O=Countersign, 2.5.4.5=${serial}`;
  const spki = publicKey.toCryptoKey(ECDSA, true, ["verify"]);
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serial,
    subject: name,
    issuer: name,
    ...validity(nowMs, nowMs + ttlMs),
    publicKey: spki,
    signingKey: privateKey.toCryptoKey(ECDSA, false, ["sign"]),
    signingAlgorithm: ECDSA,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      uriName(`spiffe://${trustDomain}`),
      await SubjectKeyIdentifierExtension.create(spki),
    ],
  });
  return authorityOf(new X509Certificate(Buffer.from(certificate.rawData)), privateKey, nowMs);
}

export function authorityOf(certificate: X509Certificate, key: KeyObject, createdMs: number): X509Authority {
  return { certificate, key, createdMs, notAfterMs: certificate.validToDate.getTime() };
}

/** Makes an X.509-SVID with a new P-256 key (SPIFFE X.509-SVID sections 2 to 4). It never outlives its CA. */
export async function issueX509Svid(
  authority: X509Authority,
  spiffeId: SpiffeId,
  ttlMs: number,
  nowMs: number,
): Promise<IssuedX509Svid> {
  const { publicKey, privateKey } = await generate("ec", { namedCurve: ECDSA.namedCurve });
  const spki = publicKey.toCryptoKey(ECDSA, true, ["verify"]);
  const certificate = await X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject: "O=Countersign",
    issuer: rfc4514(authority.certificate),
    ...validity(nowMs, Math.min(nowMs + ttlMs, authority.notAfterMs)),
    publicKey: spki,
    signingKey: authority.key.toCryptoKey(ECDSA, false, ["sign"]),
    signingAlgorithm: ECDSA,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      uriName(spiffeId),
      await SubjectKeyIdentifierExtension.create(spki),
      await AuthorityKeyIdentifierExtension.create(
        authority.certificate.publicKey.toCryptoKey(ECDSA, true, ["verify"]),
      ),
    ],
  });
  const chainDer = new Uint8Array(certificate.rawData);
  return {
    spiffeId,
    chainDer,
    keyDer: privateKey.export({ format: "der", type: "pkcs8" }),
    serial: certificate.serialNumber.toLowerCase(),
    issuedMs: nowMs,
    notAfterMs: certificate.notAfter.getTime(),
  };
}

function uriName(uri: string): Extension {
  return new SubjectAlternativeNameExtension([{ type: "url", value: uri }]);
}

function validity(nowMs: number, notAfterMs: number): { readonly notBefore: Date; readonly notAfter: Date } {
  return { notBefore: new Date(nowMs - BACKDATE_MS), notAfter: new Date(notAfterMs) };
}

/** 16 random bytes as a positive integer of full length (RFC 5280 section 4.1.2.2). */
function randomSerial(): string {
  const bytes = randomBytes(SERIAL_BYTES);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString("hex");
}

/** Node prints a subject one attribute a line, in the certificate's order. */
function rfc4514(certificate: X509Certificate): string {
  return certificate.subject.replace("serialNumber=", "2.5.4.5=").split("\n").join(", ");
}
