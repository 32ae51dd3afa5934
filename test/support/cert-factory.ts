// Makes CAs, intermediates and X.509-SVIDs for tests, sound by default and with any defect on request. The DER is
// written by hand, synchronously: a library would refuse to write half of what must be refused.
import { createHash, type KeyObject, X509Certificate } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Svid, TrustBundle } from "../../src/core/identity.ts";
import { parseSpiffeId, parseTrustDomain } from "../../src/core/spiffe-id.ts";
import { type CertificateContent, certificateDer, type Signer, subjectName } from "./certificate-der.ts";
import { type CrlContent, crlDer } from "./crl-der.ts";
import { keyIdOf, keyPair, spkiOf } from "./test-keys.ts";

export interface CertOptions extends CertificateContent {
  /** Signs with another CA's key under this issuer's name. */
  readonly signedBy?: TestCa;
}

export interface CrlOptions extends CrlContent {
  readonly signedBy?: TestCa;
}

export interface TestIssued {
  readonly der: Buffer;
  readonly certificate: X509Certificate;
  /** This certificate alone. */
  readonly certPem: string;
  /** This certificate and its intermediates, leaf first, without the root. */
  readonly chainPem: string;
  /** The same as DER. */
  readonly chainDer: readonly Buffer[];
  readonly key: KeyObject;
  /** PKCS#8. */
  readonly keyPem: string;
}

export interface TestCa extends TestIssued {
  readonly trustDomain: string;
  /** The root's PEM, as `bundles` of the files source take it. */
  readonly bundlePem: string;
  /** Issues a leaf (or, with isCa, any certificate). */
  issue(options?: CertOptions): TestIssued;
  /** Issues an intermediate that can issue in turn; its leaves carry it in their chain. */
  intermediate(options?: CertOptions): TestCa;
  /** A DER CRL signed by this CA. */
  crl(options: CrlOptions): Buffer;
  /** Root plus whatever `extra` holds, as the contract type. */
  trustBundle(extra?: {
    readonly authorities?: readonly X509Certificate[];
    readonly crls?: readonly Uint8Array[];
  }): TrustBundle;
}

export interface TestCaOptions extends CertOptions {
  /** What "now" is for the validity defaults; Date.now() unless given. With a fake clock pass clock.nowMs(). */
  readonly nowMs?: number;
}

const HOUR = 3_600_000;

/** A self-signed root of one trust domain. */
export function createTestCa(trustDomain: string, options: TestCaOptions = {}): TestCa {
  const nowMs = options.nowMs ?? Date.now();
  return buildCa(trustDomain, nowMs, options, undefined, undefined);
}

/** The contract's Svid from an issued leaf, unchecked: for tests of what comes after the source. */
export function testSvid(issued: TestIssued, hint = ""): Svid {
  const leaf = issued.certificate;
  const uri = /URI:([^,]+)/.exec(leaf.subjectAltName ?? "")?.[1] ?? "";
  return {
    spiffeId: parseSpiffeId(uri),
    hint,
    chain: issued.chainDer.map((der) => new X509Certificate(der)),
    chainPem: issued.chainPem,
    key: issued.key,
    serial: leaf.serialNumber.toLowerCase().replace(/^0+(?=.)/, ""),
    fingerprint: createHash("sha256").update(leaf.raw).digest("hex"),
    notBeforeMs: leaf.validFromDate.getTime(),
    notAfterMs: leaf.validToDate.getTime(),
  };
}

export interface IdentityFiles {
  readonly svid: string;
  readonly key: string;
  readonly bundle: string;
  /** trust domain → path: bundle.pem for the SVID's own CA, <trust domain>.pem for the others. */
  readonly bundles: ReadonlyMap<string, string>;
}

/** Writes svid.pem, svid.key (0600), bundle.pem and one more bundle for each further CA, as the files source takes them. */
export function writeIdentityFiles(
  dir: string,
  svid: TestIssued,
  ca: TestCa,
  others: readonly TestCa[] = [],
): IdentityFiles {
  mkdirSync(dir, { recursive: true });
  const paths = { svid: join(dir, "svid.pem"), key: join(dir, "svid.key"), bundle: join(dir, "bundle.pem") };
  writeFileSync(paths.svid, svid.chainPem);
  writeFileSync(paths.key, svid.keyPem, { mode: 0o600 });
  writeFileSync(paths.bundle, ca.bundlePem);
  const bundles = new Map([[ca.trustDomain, paths.bundle]]);
  for (const other of others) {
    const path = join(dir, `${other.trustDomain}.pem`);
    writeFileSync(path, other.bundlePem);
    bundles.set(other.trustDomain, path);
  }
  return { ...paths, bundles };
}

const signers = new WeakMap<TestCa, Signer>();

function buildCa(
  trustDomain: string,
  nowMs: number,
  options: CertOptions,
  parent: TestCa | undefined,
  root: TestCa | undefined,
): TestCa {
  const keyType = options.keyType ?? "P-256";
  const pair = keyPair(keyType);
  const name = Buffer.from(
    options.subject ?? subjectName(options.commonName ?? `${trustDomain} ${parent ? "intermediate" : "root"}`),
  );
  const signer: Signer = { name, key: pair.privateKey, keyType, keyId: keyIdOf(spkiOf(pair.publicKey)) };
  const issuer = options.signedBy
    ? withName(signerOf(options.signedBy), parent ? signerOf(parent).name : name)
    : parent
      ? signerOf(parent)
      : signer;
  const der = certificateDer(
    {
      isCa: true,
      spiffeId: `spiffe://${trustDomain}`,
      notBefore: nowMs - 24 * HOUR,
      notAfter: nowMs + 10 * 365 * 24 * HOUR,
      keyUsage: ["keyCertSign", "cRLSign"],
      eku: "absent",
      ...options,
      subject: name,
    },
    spkiOf(pair.publicKey),
    issuer,
  );
  const ca: TestCa = {
    ...issuedOf(der, pair.privateKey, parent === undefined || parent === root ? [] : parent.chainDer),
    trustDomain,
    get bundlePem() {
      return (root ?? ca).certPem;
    },
    issue(leaf = {}) {
      const leafKeyType = leaf.keyType ?? "P-256";
      const leafPair = keyPair(leafKeyType);
      const own = signers.get(ca);
      if (own === undefined) throw new TypeError("unknown CA");
      const leafDer = certificateDer(
        {
          spiffeId: `spiffe://${trustDomain}/workload`,
          notBefore: nowMs - 60_000,
          notAfter: nowMs + HOUR,
          ...leaf,
        },
        spkiOf(leafPair.publicKey),
        leaf.signedBy ? withName(signerOf(leaf.signedBy), own.name) : own,
      );
      return issuedOf(leafDer, leafPair.privateKey, root === undefined ? [] : ca.chainDer);
    },
    intermediate: (inner = {}) => buildCa(trustDomain, nowMs, inner, ca, root ?? ca),
    crl: (crlOptions) => crlDer(crlOptions, nowMs, name, signerOf(crlOptions.signedBy ?? ca)),
    trustBundle(extra = {}) {
      const authorities = [(root ?? ca).certificate, ...(extra.authorities ?? [])];
      const crls = extra.crls ?? [];
      const version = createHash("sha256");
      for (const part of [...authorities.map((cert) => cert.raw), ...crls]) version.update(part);
      return { trustDomain: parseTrustDomain(trustDomain), authorities, crls, version: version.digest("hex") };
    },
  };
  signers.set(ca, signer);
  return ca;
}

function signerOf(ca: TestCa): Signer {
  const signer = signers.get(ca);
  if (signer === undefined) throw new TypeError("not a CA of this factory");
  return signer;
}

const withName = (signer: Signer, name: Uint8Array): Signer => ({ ...signer, name });

function issuedOf(der: Buffer, key: KeyObject, above: readonly Buffer[]): TestIssued {
  const chainDer = [der, ...above];
  let certificate: X509Certificate | undefined;
  return {
    der,
    get certificate() {
      certificate ??= new X509Certificate(der);
      return certificate;
    },
    certPem: pemOf(der),
    chainPem: chainDer.map(pemOf).join(""),
    chainDer,
    key,
    keyPem: key.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

function pemOf(der: Uint8Array): string {
  const lines = Buffer.from(der).toString("base64").replace(/.{64}/g, "$&\n").trimEnd();
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}
