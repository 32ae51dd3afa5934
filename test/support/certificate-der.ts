import { type KeyObject, randomBytes, sign } from "node:crypto";
import { bitList, bits, bool, type Der, integer, octets, oid, sequence, set, time, tlv, utf8 } from "./der-writer.ts";
import { algorithmOf, type KeyType, keyIdOf, type SignatureHash } from "./test-keys.ts";

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
export interface CertificateContent {
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
  readonly signatureHash?: SignatureHash;
  /** 3 unless given. */
  readonly version?: number;
  /** Rewrites the to-be-signed part before it is signed. */
  readonly rewriteTbs?: (tbs: Der) => Der;
  /** Signature algorithm of the outer SEQUENCE, if it is to differ from the inner one. */
  readonly outerAlgorithm?: Uint8Array;
  /** Bytes appended after the certificate. */
  readonly trailing?: Uint8Array;
}

/** Who signs: the name that stands as issuer, and the key. */
export interface Signer {
  readonly name: Uint8Array;
  readonly key: KeyObject;
  readonly keyType: KeyType;
  readonly keyId: Buffer;
}
export function certificateDer(options: CertificateContent, spki: Uint8Array, issuer: Signer): Buffer {
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
  const signature = bits(sign(algorithm.hash, tbs, issuer.key));
  const der = sequence(tbs, options.outerAlgorithm ?? algorithm.identifier, signature);
  return options.trailing ? Buffer.concat([der, options.trailing]) : der;
}

function extensionsOf(options: CertificateContent, spki: Uint8Array, issuer: Signer): Der[] {
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

function nameConstraintsDer(constraints: NonNullable<CertificateContent["nameConstraints"]>): Der {
  const subtrees = (tag: number, uris: readonly string[] | undefined): Der[] =>
    uris === undefined ? [] : [tlv(tag, ...uris.map((uri) => sequence(tlv(0x86, Buffer.from(uri, "latin1")))))];
  return sequence(...subtrees(0xa0, constraints.permittedUris), ...subtrees(0xa1, constraints.excludedUris));
}

export function subjectName(commonName: string): Der {
  return sequence(
    set(sequence(oid("2.5.4.6"), tlv(0x13, Buffer.from("US")))),
    set(sequence(oid("2.5.4.3"), utf8(commonName))),
  );
}
