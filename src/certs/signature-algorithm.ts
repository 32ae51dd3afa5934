import { type DerElement, DerReader, readOid, readSmall, readWhole, tags } from "./der.ts";

/** Whether a signature algorithm is one that we accept, and its name for people. */
export interface SignatureFacts {
  readonly name: string;
  readonly isAccepted: boolean;
}

/** OID → name and whether its parameters are NULL (RSA) or absent. Anything else, SHA-1 and MD5 included, is refused. */
const accepted: Readonly<Record<string, { readonly name: string; readonly hasNull: boolean }>> = {
  "1.2.840.10045.4.3.2": { name: "ecdsa-with-SHA256", hasNull: false },
  "1.2.840.10045.4.3.3": { name: "ecdsa-with-SHA384", hasNull: false },
  "1.2.840.10045.4.3.4": { name: "ecdsa-with-SHA512", hasNull: false },
  "1.2.840.113549.1.1.11": { name: "sha256WithRSAEncryption", hasNull: true },
  "1.2.840.113549.1.1.12": { name: "sha384WithRSAEncryption", hasNull: true },
  "1.2.840.113549.1.1.13": { name: "sha512WithRSAEncryption", hasNull: true },
  "1.3.101.112": { name: "Ed25519", hasNull: false },
};
const refusedNames: Readonly<Record<string, string>> = {
  "1.2.840.113549.1.1.4": "md5WithRSAEncryption",
  "1.2.840.113549.1.1.5": "sha1WithRSAEncryption",
  "1.2.840.10045.4.1": "ecdsa-with-SHA1",
  "1.3.101.113": "Ed448",
};
const RSASSA_PSS = "1.2.840.113549.1.1.10";
const MGF1 = "1.2.840.113549.1.1.8";
const sha2: Readonly<Record<string, { readonly name: string; readonly bytes: number }>> = {
  "2.16.840.1.101.3.4.2.1": { name: "SHA256", bytes: 32 },
  "2.16.840.1.101.3.4.2.2": { name: "SHA384", bytes: 48 },
  "2.16.840.1.101.3.4.2.3": { name: "SHA512", bytes: 64 },
};

/** Reads an AlgorithmIdentifier of a signature (RFC 5280 section 4.1.1.2; RSASSA-PSS: RFC 4055 section 3.1). */
export function readSignatureAlgorithm(element: DerElement): SignatureFacts {
  const reader = new DerReader(element.content);
  const id = readOid(reader.expect(tags.oid, "signature algorithm"));
  const parameters = reader.done ? undefined : reader.read();
  reader.end("the signature algorithm");
  if (id === RSASSA_PSS) return readPss(parameters);
  const known = accepted[id];
  if (known === undefined) return { name: refusedNames[id] ?? id, isAccepted: false };
  const isSound = known.hasNull ? parameters?.tag === tags.null : parameters === undefined;
  return isSound
    ? { name: known.name, isAccepted: true }
    : { name: `${known.name} with odd parameters`, isAccepted: false };
}

/** The defaults of RSASSA-PSS parameters are SHA-1: only a SHA-2 hash that is written out, twice the same, will do. */
function readPss(parameters: DerElement | undefined): SignatureFacts {
  const refused = { name: "RSASSA-PSS without one SHA-2 hash", isAccepted: false };
  if (parameters?.tag !== tags.sequence) return refused;
  const reader = new DerReader(parameters.content);
  const digest = reader.optional(0xa0);
  const mask = reader.optional(0xa1);
  const salt = reader.optional(0xa2);
  if (!reader.done || digest === undefined || mask === undefined || salt === undefined) return refused;
  const hash = algorithmId(new DerReader(digest.content));
  const mgf = new DerReader(readWhole(mask.content, tags.sequence, "mask generation").content);
  const mgfId = readOid(mgf.expect(tags.oid, "mask generation"));
  const mgfHash = algorithmId(mgf);
  const known = sha2[hash];
  const saltBytes = readSmall(readWhole(salt.content, tags.integer, "salt length"), "salt length");
  if (known === undefined || mgfId !== MGF1 || mgfHash !== hash || saltBytes < known.bytes) return refused;
  return { name: `RSASSA-PSS with ${known.name}`, isAccepted: true };
}

function algorithmId(reader: DerReader): string {
  const inner = new DerReader(reader.expect(tags.sequence, "hash algorithm").content);
  reader.end("the hash algorithm");
  const id = readOid(inner.expect(tags.oid, "hash algorithm"));
  inner.optional(tags.null);
  inner.end("the hash algorithm");
  return id;
}
