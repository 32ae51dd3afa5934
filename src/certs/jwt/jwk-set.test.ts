import { generateKeyPairSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import { tokenKey } from "../../../test/support/token-issuer.ts";
import { CountersignError } from "../../core/errors.ts";
import { parseJwkSet } from "./jwk-set.ts";

const rsa = tokenKey("RS256", "rsa").jwk;
const ec = tokenKey("ES256", "ec").jwk;
const ed = tokenKey("EdDSA", "ed").jwk;
const set = (...keys: readonly unknown[]): string => JSON.stringify({ keys });
const jwkOf = (key: { export(options: { format: "jwk" }): object }): object => key.export({ format: "jwk" });

function codeOf(text: string): string {
  try {
    parseJwkSet(text);
    return "ok";
  } catch (error) {
    if (!(error instanceof CountersignError)) throw error;
    return error.code;
  }
}

describe("a JWK set", () => {
  it("gives each key the algorithms that it fits", () => {
    expect(parseJwkSet(set(rsa, ec, ed)).keys.map(({ kid, algorithms }) => [kid, algorithms.join(" ")])).toEqual([
      ["rsa", "RS256 RS384 RS512 PS256 PS384 PS512"],
      ["ec", "ES256"],
      ["ed", "EdDSA Ed25519"],
    ]);
    expect(parseJwkSet(set({ ...rsa, alg: "RS512" })).keys[0]?.algorithms).toEqual(["RS512"]);
  });

  const small = jwkOf(generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey);
  const weird = jwkOf(generateKeyPairSync("ec", { namedCurve: "secp256k1" }).publicKey);
  const secret = jwkOf(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey);
  const bytes = (length: number): string => Buffer.alloc(length, 0xff).toString("base64url");
  it.each([
    ["an RSA key of 8192 bits", { ...rsa, n: bytes(1024) }],
    ["an RSA exponent of 32 bits", { ...rsa, e: "_____w" }],
    ["an RSA exponent of 3", { ...rsa, e: "Aw" }],
  ])("takes %s", (_, member) => {
    expect(parseJwkSet(set(member)).keys).toHaveLength(1);
  });

  it.each([
    ["a symmetric key", { kty: "oct", k: "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0" }],
    ["a symmetric key that claims to be RSA's", { kty: "oct", k: "c2VjcmV0", alg: "RS256" }],
    ["a key for encryption", { ...rsa, use: "enc" }],
    ["a key that may not verify", { ...rsa, key_ops: ["encrypt"] }],
    ["an RSA key of 1024 bits", small],
    ["an RSA key of 8200 bits", { ...rsa, n: bytes(1025) }],
    ["an RSA key of a megabyte", { ...rsa, n: bytes(2 ** 20) }],
    ["an RSA exponent of 33 bits", { ...rsa, e: "AQAAAAE" }],
    ["an RSA exponent of 23200 bits", { ...rsa, e: bytes(2900) }],
    ["an RSA exponent of 1", { ...rsa, e: "AQ" }],
    ["an RSA exponent that is even", { ...rsa, e: "AQAC" }],
    ["an RSA key without exponent", { ...rsa, e: undefined }],
    ["a coordinate of a megabyte", { ...ec, x: bytes(2 ** 20) }],
    ["a curve without a standard algorithm", weird],
    ["a private key, which everybody has", secret],
    ["an algorithm that does not fit", { ...ec, alg: "RS256" }],
    ["none as algorithm", { ...rsa, alg: "none" }],
    ["a key with broken numbers", { ...ec, x: "AAAA" }],
    ["a kid that is no text", { ...rsa, kid: 7 }],
    ["no object", "rsa"],
    ["null", null],
  ])("skips %s", (_, member) => {
    const { keys, skipped } = parseJwkSet(set(member, ec));
    expect([keys.map(({ kid }) => kid), skipped]).toEqual([["ec"], 1]);
    expect(codeOf(set(member))).toBe("E_JWKS_CONTENT");
  });

  it.each([
    ["E_JWKS_CONTENT", "nothing", ""],
    ["E_JWKS_CONTENT", "an HTML page", "<html>"],
    ["E_JWKS_CONTENT", "a list", "[]"],
    ["E_JWKS_CONTENT", "no keys", "{}"],
    ["E_JWKS_CONTENT", "keys that are no list", '{"keys":{}}'],
    ["E_JWKS_CONTENT", "an empty list", '{"keys":[]}'],
    ["E_JWKS_CONTENT", "keys twice", `{"keys":[],"keys":[${JSON.stringify(ec)}]}`],
    ["E_JWKS_CONTENT", "a megabyte of zeros", `{"keys":[${"0,".repeat(500_000)}0]}`],
    ["E_JWKS_CONTENT", "half a megabyte of brackets", `{"keys":${"[".repeat(500_000)}`],
    ["E_JWKS_TOO_LARGE", "257 keys", set(...Array.from({ length: 257 }, () => ec))],
  ])("%s: %s", (code, _, text) => {
    expect(codeOf(text)).toBe(code);
  });
});
