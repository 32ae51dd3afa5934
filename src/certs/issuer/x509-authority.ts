import { generateKeyPair, type KeyObject, randomBytes, X509Certificate } from "node:crypto";
import { promisify } from "node:util";
import type { SpiffeId, TrustDomain } from "../../core/spiffe-id.ts";
import type { Term } from "./authority-terms.ts";
import { signatureAlgorithm } from "./signature-algorithm.ts";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  LibraryCertificate,
  type Name,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from "./x509-library.ts";

/** A CA of the trust domain: it signs X.509-SVIDs directly. The key is secret. */
export interface X509Authority extends Term {
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
  /** What is presented after a leaf: nothing for a CA that is trusted itself; under an upstream CA this certificate and those
   *  between it and the root. */
  readonly chain: readonly X509Certificate[];
  /** What verifiers trust: the certificate itself, or the roots above it. */
  readonly anchors: readonly X509Certificate[];
}

/** A CA above ours. The key is secret. */
export interface UpstreamAuthority {
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
  /** From `certificate` up, without the root. Empty when `certificate` is the root. */
  readonly between: readonly X509Certificate[];
  readonly roots: readonly X509Certificate[];
}

/** An X.509-SVID and its secret key, in the forms that the Workload API carries. */
export interface IssuedX509Svid {
  readonly spiffeId: SpiffeId;
  /** DER certificates, one after the other: the leaf, and what stands between it and an authority of the bundle. */
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
  const { certificate, key } = await makeCa(trustDomain, { nowMs, notAfterMs: nowMs + ttlMs, upstream: undefined });
  return authorityOf({ certificate, key, chain: [], anchors: [certificate], createdMs: nowMs });
}

/** The same, but signed by a CA above: ours is then an intermediate, and the roots above are what is trusted. It never outlives
 *  what stands above it. */
export async function createIntermediateAuthority(
  trustDomain: TrustDomain,
  upstream: UpstreamAuthority,
  ttlMs: number,
  nowMs: number,
): Promise<X509Authority> {
  const notAfterMs = Math.min(nowMs + ttlMs, endMs(upstream.between, upstream.roots));
  const { certificate, key } = await makeCa(trustDomain, { nowMs, notAfterMs, upstream });
  const chain = [certificate, ...upstream.between];
  return authorityOf({ certificate, key, chain, anchors: upstream.roots, createdMs: nowMs });
}

async function makeCa(
  trustDomain: TrustDomain,
  {
    nowMs,
    notAfterMs,
    upstream,
  }: { readonly nowMs: number; readonly notAfterMs: number; readonly upstream: UpstreamAuthority | undefined },
): Promise<{ readonly certificate: X509Certificate; readonly key: KeyObject }> {
  const { publicKey, privateKey } = await generate("ec", { namedCurve: ECDSA.namedCurve });
  const serial = randomSerial();
  // Every CA has its own name, so that path building never tries one in place of another.
  const name = `O=Countersign, 2.5.4.5=${serial}`;
  const spki = publicKey.toCryptoKey(ECDSA, true, ["verify"]);
  const signer = upstream ?? { certificate: undefined, key: privateKey };
  const signingAlgorithm = signatureAlgorithm(signer.key);
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serial,
    subject: name,
    issuer: signer.certificate === undefined ? name : subjectOf(signer.certificate),
    ...validity(nowMs, notAfterMs),
    publicKey: spki,
    signingKey: signer.key.toCryptoKey(signingAlgorithm, false, ["sign"]),
    signingAlgorithm,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      uriName(`spiffe://${trustDomain}`),
      await SubjectKeyIdentifierExtension.create(spki),
      ...(signer.certificate === undefined ? [] : [await issuerKey(signer.certificate)]),
    ],
  });
  return { certificate: new X509Certificate(Buffer.from(certificate.rawData)), key: privateKey };
}

/** Its term ends with the first thing that a path from a leaf to a root needs. */
export function authorityOf(parts: Omit<X509Authority, "notAfterMs">): X509Authority {
  return { ...parts, notAfterMs: endMs([parts.certificate, ...parts.chain], parts.anchors) };
}

function endMs(chain: readonly X509Certificate[], roots: readonly X509Certificate[]): number {
  const ends = (certificates: readonly X509Certificate[]): number[] =>
    certificates.map(({ validToDate }) => validToDate.getTime());
  return Math.min(...ends(chain), Math.max(...ends(roots)));
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
    issuer: subjectOf(authority.certificate),
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
      await issuerKey(authority.certificate),
    ],
  });
  const chainDer = Buffer.concat([Buffer.from(certificate.rawData), ...authority.chain.map(({ raw }) => raw)]);
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

/** The name as it stands there, byte for byte: a path is found by comparing names. */
function subjectOf({ raw }: X509Certificate): Name {
  return new LibraryCertificate(raw).subjectName;
}

/** The CA's own key identifier where it has one (RFC 5280 section 4.2.1.1), which another maker may have computed its own way. */
async function issuerKey({ raw }: X509Certificate): Promise<Extension> {
  const certificate = new LibraryCertificate(raw);
  const identifier = certificate.getExtension(SubjectKeyIdentifierExtension);
  return identifier === null
    ? AuthorityKeyIdentifierExtension.create(certificate.publicKey)
    : new AuthorityKeyIdentifierExtension(identifier.keyId);
}
