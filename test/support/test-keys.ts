import { generateKeyPairSync, hash, type KeyObject } from "node:crypto";
import { type Der, nullValue, oid, sequence } from "./der-writer.ts";

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

export type SignatureHash = "sha256" | "sha384" | "sha512" | "sha1" | "md5";

export interface SignatureAlgorithm {
  readonly identifier: Der;
  /** Digest for crypto.sign; null for EdDSA. */
  readonly hash: string | null;
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

export function algorithmOf(keyType: KeyType, wanted: SignatureHash | undefined): SignatureAlgorithm {
  if (keyType === "Ed25519") return { identifier: sequence(oid("1.3.101.112")), hash: null };
  if (keyType === "Ed448") return { identifier: sequence(oid("1.3.101.113")), hash: null };
  if (keyType.startsWith("RSA")) {
    const digest = wanted ?? "sha256";
    return { identifier: sequence(oid(rsaOids[digest]), nullValue()), hash: digest };
  }
  const digest = wanted ?? (keyType === "P-384" ? "sha384" : keyType === "P-521" ? "sha512" : "sha256");
  if (digest === "md5") throw new TypeError("ECDSA with MD5 does not exist");
  return { identifier: sequence(oid(ecdsaOids[digest])), hash: digest };
}

export const spkiOf = (key: KeyObject): Buffer => key.export({ type: "spki", format: "der" });
export const keyIdOf = (spki: Uint8Array): Buffer => hash("sha1", spki, "buffer");
export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

// RSA keys take up to a second each: two of each size are made once a process and handed out in turn.
const rsaPool = new Map<string, KeyPair[]>();
let rsaTurn = 0;

export function keyPair(type: KeyType): KeyPair {
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
