import { generateKeyPairSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import { parsePolicySignature, readPolicyKey, signPolicies, verifyPolicies } from "./policy-signature.ts";

function keyPair(): { readonly privatePem: string; readonly publicPem: string } {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return {
    privatePem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    publicPem: publicKey.export({ type: "spki", format: "pem" }).toString(),
  };
}
const own = keyPair();
const key = readPolicyKey(own.publicPem, "p.pub");
const signed = signPolicies("a: 1\n", "orders", 7, own.privatePem, "p.key");

describe("a signature over policies", () => {
  it("is believed for what was signed", () => {
    expect(() => verifyPolicies("a: 1\n", "orders", signed, key)).not.toThrow();
    expect(parsePolicySignature(JSON.stringify(signed))).toEqual(signed);
  });

  it.each<[string, () => void]>([
    ["another text", () => verifyPolicies("a: 2\n", "orders", signed, key)],
    ["another name", () => verifyPolicies("a: 1\n", "payments", signed, key)],
    ["a higher version", () => verifyPolicies("a: 1\n", "orders", { ...signed, version: 8 }, key)],
    ["another key", () => verifyPolicies("a: 1\n", "orders", signed, readPolicyKey(keyPair().publicPem, ""))],
    ["no signature", () => verifyPolicies("a: 1\n", "orders", { ...signed, signature: "" }, key)],
  ])("is refused for %s", (_, verify) => {
    expect(verify).toThrow("the signature is not of these policies");
  });

  it.each([
    "",
    "[]",
    "{}",
    '{"version":0,"signature":"a"}',
    '{"version":1.5,"signature":"a"}',
    '{"version":1}',
    "null",
  ])("is not read from %j", (json) => {
    expect(() => parsePolicySignature(json)).toThrow('the signature is not {"version": 1');
  });

  it("needs an Ed25519 key, and shows none that is wrong", () => {
    const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const pem = publicKey.export({ type: "spki", format: "pem" }).toString();
    for (const wrong of [pem, "hunter2", own.privatePem.replace("PRIVATE", "X")])
      expect(() => readPolicyKey(wrong, "p.pub")).toThrow(/^this is no public Ed25519 key in PEM$/);
    expect(() => signPolicies("", "", 1, own.publicPem, "p.key")).toThrow("this is no private Ed25519 key in PEM");
  });
});
