import type { KeyObject } from "node:crypto";

type SigningAlgorithm =
  | { readonly name: "ECDSA"; readonly namedCurve: string; readonly hash: string }
  | { readonly name: "RSASSA-PKCS1-v1_5"; readonly hash: "SHA-256" }
  | { readonly name: "Ed25519" };

const curves: Readonly<Record<string, readonly [curve: string, hash: string]>> = {
  prime256v1: ["P-256", "SHA-256"],
  secp384r1: ["P-384", "SHA-384"],
  secp521r1: ["P-521", "SHA-512"],
};

/** How a CA with this key signs certificates, in Web Crypto's words. Throws TypeError for a key that canSign says no of. */
export function signatureAlgorithm(key: KeyObject): SigningAlgorithm {
  const algorithm = algorithmOf(key);
  if (algorithm === undefined) throw new TypeError("a CA cannot sign with such a key");
  return algorithm;
}

/** Whether certificates signed by this key are accepted as SVIDs: P-256, P-384, P-521, Ed25519, RSA of 2048 to 4096 bits. */
export function canSign(key: KeyObject): boolean {
  return algorithmOf(key) !== undefined;
}

function algorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): SigningAlgorithm | undefined {
  if (asymmetricKeyType === "ed25519") return { name: "Ed25519" };
  if (asymmetricKeyType === "rsa") {
    const bits = asymmetricKeyDetails?.modulusLength ?? 0;
    return bits >= 2048 && bits <= 4096 ? { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" } : undefined;
  }
  const [namedCurve, hash] = curves[asymmetricKeyDetails?.namedCurve ?? ""] ?? [];
  return namedCurve === undefined || hash === undefined ? undefined : { name: "ECDSA", namedCurve, hash };
}
