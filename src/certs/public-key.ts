import { type DerElement, DerError, DerReader, readBitString, readOid, readUnsigned, readWhole, tags } from "./der.ts";

/** The kind and strength of a public key, as its SubjectPublicKeyInfo says (RFC 3279, 5480, 8410). */
export type PublicKeyFacts =
  | { readonly kind: "ec"; readonly curve: string }
  /** EC with parameters written out: whoever chooses them can make a curve on which a public key fits a known private
   *  one (CVE-2020-0601). */
  | { readonly kind: "ec-explicit" }
  | { readonly kind: "ed25519" }
  | { readonly kind: "rsa"; readonly bits: number; readonly isExponentSound: boolean }
  | { readonly kind: "other"; readonly algorithm: string };

const curves: Readonly<Record<string, string>> = {
  "1.2.840.10045.3.1.7": "P-256",
  "1.3.132.0.34": "P-384",
  "1.3.132.0.35": "P-521",
  "1.3.132.0.33": "P-224",
  "1.3.132.0.10": "secp256k1",
};

export function readPublicKey(spki: DerElement): PublicKeyFacts {
  const reader = new DerReader(spki.content);
  const algorithm = new DerReader(reader.expect(tags.sequence, "public key algorithm").content);
  const key = readBitString(reader.expect(tags.bitString, "public key")).bytes;
  reader.end("the public key");
  const id = readOid(algorithm.expect(tags.oid, "public key algorithm"));
  const parameters = algorithm.done ? undefined : algorithm.read();
  algorithm.end("the public key algorithm");
  switch (id) {
    case "1.2.840.10045.2.1":
      if (parameters?.tag !== tags.oid) return { kind: "ec-explicit" };
      return { kind: "ec", curve: curves[readOid(parameters)] ?? readOid(parameters) };
    case "1.3.101.112":
      if (parameters !== undefined) throw new DerError("has parameters on an Ed25519 key");
      return { kind: "ed25519" };
    case "1.2.840.113549.1.1.1":
      if (parameters?.tag !== tags.null) throw new DerError("has no NULL parameters on an RSA key");
      return readRsa(key);
    default:
      return { kind: "other", algorithm: id };
  }
}

function readRsa(key: Uint8Array): PublicKeyFacts {
  const reader = new DerReader(readWhole(key, tags.sequence, "RSA key").content);
  const modulus = readUnsigned(reader.expect(tags.integer, "modulus"), "modulus");
  const exponent = readUnsigned(reader.expect(tags.integer, "exponent"), "exponent");
  reader.end("the RSA key");
  const bits = (modulus.length - 1) * 8 + (32 - Math.clz32(modulus[0] ?? 0));
  const isOdd = (bytes: Uint8Array): boolean => ((bytes[bytes.length - 1] ?? 0) & 1) === 1;
  // With exponent 1 anybody can sign; an even one is no RSA at all.
  const isOne = exponent.length === 1 && exponent[0] === 1;
  return { kind: "rsa", bits, isExponentSound: isOdd(modulus) && isOdd(exponent) && !isOne && exponent.length <= 8 };
}
