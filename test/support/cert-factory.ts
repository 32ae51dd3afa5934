// Makes CAs, intermediates and X.509-SVIDs for tests, sound by default and with any defect on request. The DER is
// written by hand, synchronously: a library would refuse to write half of what must be refused.
import { createHash, generateKeyPairSync, hash, type KeyObject, randomBytes, sign, X509Certificate } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Svid, TrustBundle } from "../../src/core/identity.ts";
import { parseSpiffeId, parseTrustDomain } from "../../src/core/spiffe-id.ts";
import {
  bitList,
  bits,
  bool,
  type Der,
  integer,
  nullValue,
  octets,
  oid,
  sequence,
  set,
  time,
  tlv,
  utf8,
} from "./der-writer.ts";

export type KeyType =
  | "P-256"
  | "P-384"
  | "P-521"
  | "P-224"
  | "secp256k1"
  | "P-256-explicit"
  | "Ed25519"
  | "Ed448"
  | "RSA-1024"
  | "RSA-2048"
  | "RSA-3072"
  | "RSA-4096"
  | "RSA-PSS-2048";

const keyUsageBits = {
  digitalSignature: 0,
  nonRepudiation: 1,
  keyEncipherment: 2,
  dataEncipherment: 3,
  keyAgreement: 4,
  keyCertSign: 5,
  cRLSign: 6,
  encipherOnly: 7,
  decipherOnly: 8,
} as const;
export type KeyUsageName = keyof typeof keyUsageBits;

const ekuOids = {
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
  codeSigning: "1.3.6.1.5.5.7.3.3",
  any: "2.5.29.37.0",
} as const;
export type EkuName = keyof typeof ekuOids;

export interface ExtensionSpec {
  readonly oid: string;
  readonly critical?: boolean;
  /** The DER inside the OCTET STRING. */
  readonly value: Uint8Array;
}

/** What a certificate holds. Everything left out takes the sound default of its kind (leaf or CA). */
export interface CertOptions {
  /** URI SAN; undefined leaves it out. Taken as it is, however wrong. */
  readonly spiffeId?: string | undefined;
  readonly extraUriSans?: readonly string[];
  readonly dnsSans?: readonly string[];
  /** Common name of the subject. */
  readonly commonName?: string;
  /** Whole subject Name in DER, instead of commonName. */
  readonly subject?: Uint8Array;
  readonly serial?: bigint;
  /** Milliseconds since the epoch. Leaf default: CA's `nowMs` - 60 s to + 1 h. */
  readonly notBefore?: number;
  readonly notAfter?: number;
  readonly isCa?: boolean;
  readonly pathLen?: number;
  /** false leaves the extension out. */
  readonly basicConstraints?: boolean;
  readonly keyUsage?: readonly KeyUsageName[] | "absent";
  readonly keyUsageCritical?: boolean;
  /** Leaf default: serverAuth and clientAuth; CA default: absent. */
  readonly eku?: readonly EkuName[] | "absent";
  /** Names without scheme, as RFC 5280 wants for URIs: a host, or .domain. */
  readonly nameConstraints?: { readonly permittedUris?: readonly string[]; readonly excludedUris?: readonly string[] };
  /** Added after the others, also when it repeats one of them. */
  readonly extraExtensions?: readonly ExtensionSpec[];
  readonly keyType?: KeyType;
  /** SubjectPublicKeyInfo in DER instead of a real key's. */
  readonly publicKeyDer?: Uint8Array;
  readonly signatureHash?: "sha256" | "sha384" | "sha512" | "sha1" | "md5";
  /** 3 unless given. */
  readonly version?: number;
  /** Rewrites the to-be-signed part before it is signed. */
  readonly rewriteTbs?: (tbs: Der) => Der;
  /** Signature algorithm of the outer SEQUENCE, if it is to differ from the inner one. */
  readonly outerAlgorithm?: Uint8Array;
  /** Bytes appended after the certificate. */
  readonly trailing?: Uint8Array;
  /** Signs with another CA's key under this issuer's name. */
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

export interface CrlOptions {
  readonly serials: readonly (bigint | string)[];
  readonly thisUpdate?: number;
  readonly nextUpdate?: number;
  readonly signedBy?: TestCa;
  readonly trailing?: Uint8Array;
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

interface Signer {
  readonly name: Uint8Array;
  readonly key: KeyObject;
  readonly keyType: KeyType;
  readonly keyId: Buffer;
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

function certificateDer(options: CertOptions, spki: Uint8Array, issuer: Signer): Buffer {
  const algorithm = algorithmOf(issuer.keyType, options.signatureHash);
  const subjectKey = options.publicKeyDer ?? spki;
  const version = options.version ?? 3;
  let tbs = sequence(
    ...(version === 1 ? [] : [tlv(0xa0, integer(version - 1))]),
    integer(options.serial ?? BigInt(`0x7f${randomBytes(8).toString("hex")}`)),
    algorithm.identifier,
    issuer.name,
    sequence(time(options.notBefore ?? 0), time(options.notAfter ?? 0)),
    options.subject ?? subjectName(options.commonName ?? "workload"),
    subjectKey,
    ...(version === 3 ? [tlv(0xa3, sequence(...extensionsOf(options, subjectKey, issuer)))] : []),
  );
  if (options.rewriteTbs) tbs = options.rewriteTbs(tbs);
  const signature = bits(sign(algorithm.hash, tbs, algorithm.key(issuer.key)));
  const der = sequence(tbs, options.outerAlgorithm ?? algorithm.identifier, signature);
  return options.trailing ? Buffer.concat([der, options.trailing]) : der;
}

function extensionsOf(options: CertOptions, spki: Uint8Array, issuer: Signer): Der[] {
  const isCa = options.isCa ?? false;
  const found: Der[] = [];
  const add = (id: string, critical: boolean, value: Uint8Array): void => {
    found.push(sequence(oid(id), ...(critical ? [bool(true)] : []), octets(value)));
  };
  if (options.basicConstraints ?? true)
    add(
      "2.5.29.19",
      true,
      sequence(...(isCa ? [bool(true)] : []), ...(options.pathLen === undefined ? [] : [integer(options.pathLen)])),
    );
  const usage = options.keyUsage ?? (isCa ? ["keyCertSign", "cRLSign"] : ["digitalSignature"]);
  if (usage !== "absent")
    add("2.5.29.15", options.keyUsageCritical ?? true, bitList(usage.map((name) => keyUsageBits[name])));
  const eku = options.eku ?? (isCa ? "absent" : ["serverAuth", "clientAuth"]);
  if (eku !== "absent") add("2.5.29.37", false, sequence(...eku.map((name) => oid(ekuOids[name]))));
  const names = [
    ...[...(options.spiffeId === undefined ? [] : [options.spiffeId]), ...(options.extraUriSans ?? [])].map((uri) =>
      tlv(0x86, Buffer.from(uri, "latin1")),
    ),
    ...(options.dnsSans ?? []).map((dns) => tlv(0x82, Buffer.from(dns, "latin1"))),
  ];
  if (names.length > 0) add("2.5.29.17", false, sequence(...names));
  if (options.nameConstraints) add("2.5.29.30", true, nameConstraintsDer(options.nameConstraints));
  add("2.5.29.14", false, octets(keyIdOf(spki)));
  add("2.5.29.35", false, sequence(tlv(0x80, issuer.keyId)));
  for (const extra of options.extraExtensions ?? []) add(extra.oid, extra.critical ?? false, extra.value);
  return found;
}

function nameConstraintsDer(constraints: NonNullable<CertOptions["nameConstraints"]>): Der {
  const subtrees = (tag: number, uris: readonly string[] | undefined): Der[] =>
    uris === undefined ? [] : [tlv(tag, ...uris.map((uri) => sequence(tlv(0x86, Buffer.from(uri, "latin1")))))];
  return sequence(...subtrees(0xa0, constraints.permittedUris), ...subtrees(0xa1, constraints.excludedUris));
}

function crlDer(options: CrlOptions, nowMs: number, issuerName: Uint8Array, signer: Signer): Buffer {
  const algorithm = algorithmOf(signer.keyType, undefined);
  const thisUpdate = options.thisUpdate ?? nowMs - 60_000;
  const entries = options.serials.map((serial) =>
    sequence(integer(typeof serial === "string" ? BigInt(`0x${serial}`) : serial), time(thisUpdate)),
  );
  const tbs = sequence(
    integer(1),
    algorithm.identifier,
    issuerName,
    time(thisUpdate),
    time(options.nextUpdate ?? nowMs + 24 * HOUR),
    ...(entries.length === 0 ? [] : [sequence(...entries)]),
    tlv(0xa0, sequence(sequence(oid("2.5.29.20"), octets(integer(1))))),
  );
  const der = sequence(tbs, algorithm.identifier, bits(sign(algorithm.hash, tbs, algorithm.key(signer.key))));
  return options.trailing ? Buffer.concat([der, options.trailing]) : der;
}

interface SignatureAlgorithm {
  readonly identifier: Der;
  /** Digest for crypto.sign; null for EdDSA. */
  readonly hash: string | null;
  readonly key: (key: KeyObject) => Parameters<typeof sign>[2];
}

const ecdsaOids = {
  sha1: "1.2.840.10045.4.1",
  sha256: "1.2.840.10045.4.3.2",
  sha384: "1.2.840.10045.4.3.3",
  sha512: "1.2.840.10045.4.3.4",
};
const rsaOids = {
  md5: "1.2.840.113549.1.1.4",
  sha1: "1.2.840.113549.1.1.5",
  sha256: "1.2.840.113549.1.1.11",
  sha384: "1.2.840.113549.1.1.12",
  sha512: "1.2.840.113549.1.1.13",
};

function algorithmOf(keyType: KeyType, wanted: CertOptions["signatureHash"]): SignatureAlgorithm {
  if (keyType === "Ed25519") return { identifier: sequence(oid("1.3.101.112")), hash: null, key: (key) => key };
  if (keyType === "Ed448") return { identifier: sequence(oid("1.3.101.113")), hash: null, key: (key) => key };
  if (keyType.startsWith("RSA")) {
    const digest = wanted ?? "sha256";
    return { identifier: sequence(oid(rsaOids[digest]), nullValue()), hash: digest, key: (key) => key };
  }
  const digest = wanted ?? (keyType === "P-384" ? "sha384" : keyType === "P-521" ? "sha512" : "sha256");
  if (digest === "md5") throw new TypeError("ECDSA with MD5 does not exist");
  return { identifier: sequence(oid(ecdsaOids[digest])), hash: digest, key: (key) => key };
}

function subjectName(commonName: string): Der {
  return sequence(
    set(sequence(oid("2.5.4.6"), tlv(0x13, Buffer.from("US")))),
    set(sequence(oid("2.5.4.3"), utf8(commonName))),
  );
}

const spkiOf = (key: KeyObject): Buffer => key.export({ type: "spki", format: "der" });
const keyIdOf = (spki: Uint8Array): Buffer => hash("sha1", spki, "buffer");

interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

// RSA keys take up to a second each: two of each size are made once a process and handed out in turn.
const rsaPool = new Map<string, KeyPair[]>();
let rsaTurn = 0;

function keyPair(type: KeyType): KeyPair {
  switch (type) {
    case "P-256":
    case "P-384":
    case "P-521":
    case "P-224":
    case "secp256k1":
      return generateKeyPairSync("ec", { namedCurve: type });
    case "P-256-explicit":
      return generateKeyPairSync("ec", { namedCurve: "P-256", paramEncoding: "explicit" });
    case "Ed25519":
      return generateKeyPairSync("ed25519");
    case "Ed448":
      return generateKeyPairSync("ed448");
    case "RSA-PSS-2048":
      return generateKeyPairSync("rsa-pss", { modulusLength: 2048 });
    case "RSA-1024":
    case "RSA-2048":
    case "RSA-3072":
    case "RSA-4096": {
      const pool = rsaPool.get(type) ?? [];
      rsaPool.set(type, pool);
      if (pool.length < 2) {
        const pair = generateKeyPairSync("rsa", { modulusLength: Number(type.slice(4)) });
        pool.push(pair);
        return pair;
      }
      return pool[rsaTurn++ % pool.length] ?? generateKeyPairSync("rsa", { modulusLength: Number(type.slice(4)) });
    }
  }
}
