import { generateKeyPairSync } from "node:crypto";
import { expect, test } from "vitest";
import { parseTrustDomain } from "../../core/spiffe-id.ts";
import { parseJwtBundle, readJwtKeys } from "./jwt-keys.ts";

const domain = parseTrustDomain("partner.org");
const jwkOf = (key: { export(options: { format: "jwk" }): object }): object => key.export({ format: "jwk" });
const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const good = { ...jwkOf(publicKey), use: "jwt-svid", kid: "a" };
const rsa = (modulusLength: number): object => jwkOf(generateKeyPairSync("rsa", { modulusLength }).publicKey);
const ids = (entries: readonly unknown[], isJwtOnly = false): string[] =>
  readJwtKeys(entries, "a test", isJwtOnly).map(({ keyId }) => keyId);

test.each<[string, unknown]>([
  ["of another use", { ...good, use: "x509-svid" }],
  ["without use", { ...good, use: undefined }],
  ["without kid", { ...good, kid: undefined }],
  ["with an empty kid", { ...good, kid: "" }],
  ["with a kid that is a number", { ...good, kid: 7 }],
  ["of an unknown type", { ...good, kty: "PQC" }],
  ["of a symmetric type", { kty: "oct", k: "AAAA", use: "jwt-svid", kid: "a" }],
  [
    "of an Edwards curve, for which the standard has no alg",
    { ...jwkOf(generateKeyPairSync("ed25519").publicKey), use: "jwt-svid", kid: "a" },
  ],
  [
    "on another curve",
    { ...jwkOf(generateKeyPairSync("ec", { namedCurve: "secp256k1" }).publicKey), use: "jwt-svid", kid: "a" },
  ],
  ["that is no point of its curve", { ...good, y: good.kid.repeat(43) }],
  ["that is cut", { ...good, x: undefined }],
  ["with an RSA key of 1024 bits", { ...rsa(1024), use: "jwt-svid", kid: "a" }],
  ["with an RSA exponent of 1", { ...rsa(2048), e: "AQ", use: "jwt-svid", kid: "a" }],
  ["that is no object", "key"],
  ["that is null", null],
])("an entry %s is skipped", (_what, entry) => {
  expect(ids([entry, { ...good, kid: "kept" }])).toEqual(["kept"]);
});

test("of a private key only the public half is taken", () => {
  const [found] = readJwtKeys([{ ...jwkOf(privateKey), use: "jwt-svid", kid: "a" }], "a test");
  expect(found?.key.type).toBe("public");
});

test("two keys with one kid are refused, the same key twice is not", () => {
  const other = jwkOf(generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey);
  expect(ids([good, good])).toEqual(["a"]);
  expect(() => ids([good, { ...other, use: "jwt-svid", kid: "a" }])).toThrow(/same kid/);
});

test("more keys than anybody needs are refused", () => {
  const many = (count: number): unknown[] => Array.from({ length: count }, (_, i) => ({ ...good, kid: String(i) }));
  expect(ids(many(256))).toHaveLength(256);
  expect(() => ids(many(257))).toThrow(/more than 256/);
});

test("the Workload API's document may leave use out, as SPIRE does", () => {
  const { version, keys } = parseJwtBundle(domain, JSON.stringify({ keys: [{ ...good, use: undefined }] }));
  expect(keys.map(({ keyId }) => keyId)).toEqual(["a"]);
  expect(parseJwtBundle(domain, JSON.stringify({ keys: [good], other: 1 })).version).toBe(version);
  expect(parseJwtBundle(domain, JSON.stringify({ keys: [{ ...good, kid: "b" }] })).version).not.toBe(version);
});

test.each([["{"], ["[]"], ["{}"], ['{"keys":{}}'], ['{"keys":[],"keys":[]}']])("%s is no JWT bundle", (text) => {
  expect(() => parseJwtBundle(domain, text)).toThrow(/JWT bundle of partner.org/);
});
