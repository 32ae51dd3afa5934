import { expect, test } from "vitest";
import { createTestCa } from "../../test/support/cert-factory.ts";
import { encodePem, parsePem, parsePemCertificates } from "./pem.ts";
import { parseSpiffeBundle } from "./spiffe-bundle.ts";
import { parseStrictJson } from "./strict-json.ts";

const ca = createTestCa("example.org");
const x5c = ca.der.toString("base64");
const entry = { kty: "EC", crv: "P-256", use: "x509-svid", x5c: [x5c] };
const parse = (document: unknown): ReturnType<typeof parseSpiffeBundle> =>
  parseSpiffeBundle(typeof document === "string" ? document : JSON.stringify(document), "partner.json");

test("authorities of use x509-svid are read; whatever else there is is skipped", () => {
  const keys = [
    { kty: "EC", use: "jwt-svid", kid: "1", crv: "P-256", x: "", y: "" },
    entry,
    { kty: "EC", x5c: [x5c] },
    { ...entry, use: "something-new" },
    { ...entry, kty: "PQC" },
    { kty: "RSA", use: "x509-svid" },
    { ...entry, x5c: [] },
    { ...entry, x5c: [x5c, "not read"] },
    "no object",
    null,
  ];
  expect(parse({ keys }).authorities).toEqual([ca.der, ca.der]);
});

test("an empty list of keys is a bundle that trusts nobody", () => {
  expect(parse({ keys: [] }).authorities).toEqual([]);
});

test("a sequence beyond the reach of JSON.parse is exact", () => {
  expect(parse('{"spiffe_sequence": 18446744073709551615, "keys": []}').sequence).toBe(18446744073709551615n);
  expect(parse('{"spiffe_sequence": 9007199254740993, "keys": []}').sequence).toBe(9007199254740993n);
  expect(parse({ spiffe_sequence: 0, keys: [] }).sequence).toBe(0n);
  expect(parse({ keys: [] }).sequence).toBeUndefined();
});

test.each([
  [undefined, 300_000],
  [1, 30_000],
  [600, 600_000],
  [86_400, 3_600_000],
])("a refresh hint of %s s means %d ms", (hint, ms) => {
  expect(parse({ spiffe_refresh_hint: hint, keys: [] }).refreshHintMs).toBe(ms);
});

test.each([
  ["no JSON", "{", "is no JSON"],
  ["text after the document", '{"keys":[]} x', "is no JSON"],
  ["an array", "[]", "no JSON object"],
  ["no keys", "{}", '"keys"'],
  ["keys that are no array", '{"keys":{}}', '"keys"'],
  ["the same key twice", '{"keys":[],"spiffe_sequence":1,"keys":[]}', '"keys" twice'],
  ["the same key twice, once escaped", '{"keys":[],"\\u006beys":[]}', '"keys" twice'],
  [
    "the same key twice in an entry",
    `{"keys":[{"kty":"EC","use":"jwt-svid","use":"x509-svid","x5c":["${x5c}"]}]}`,
    '"use" twice',
  ],
  ["a negative sequence", '{"keys":[],"spiffe_sequence":-1}', "spiffe_sequence"],
  ["a sequence of 65 bits", '{"keys":[],"spiffe_sequence":18446744073709551616}', "spiffe_sequence"],
  ["a sequence with a fraction", '{"keys":[],"spiffe_sequence":1.5}', "spiffe_sequence"],
  ["a sequence that is text", '{"keys":[],"spiffe_sequence":"1"}', "spiffe_sequence"],
  ["a refresh hint that is text", '{"keys":[],"spiffe_refresh_hint":"5m"}', "spiffe_refresh_hint"],
  ["an x5c that is no base64", { keys: [{ ...entry, x5c: ["@@@"] }] }, "base64"],
])("a document with %s is refused", (_what, document, reason) => {
  expect(() => parse(document)).toThrow(
    expect.objectContaining({ code: "E_BUNDLE_FORMAT", message: expect.stringContaining(reason) }),
  );
});

test("strict JSON takes equal keys in different objects, and brackets and colons in strings", () => {
  const text = '{"a":{"a":1},"b":[{"a":1},{"a":2}],"c":"{\\"a\\":1,\\"a\\":2}","d}":"]:","a ":-12345678901234567890}';
  expect(parseStrictJson(text)).toEqual({
    a: { a: 1 },
    b: [{ a: 1 }, { a: 2 }],
    c: '{"a":1,"a":2}',
    "d}": "]:",
    "a ": -12345678901234567890n,
  });
  const long = "x".repeat(900_000);
  expect(parseStrictJson(JSON.stringify({ long }))).toEqual({ long });
});

test("PEM blocks are read with text around them, and written back as they were", () => {
  const text = `bag attributes\n${ca.certPem}\n# a comment\r\n${ca.certPem.replaceAll("\n", "\r\n")}`;
  expect(parsePemCertificates(text, "bundle.pem")).toEqual([ca.der, ca.der]);
  expect(encodePem("CERTIFICATE", ca.der)).toBe(ca.certPem);
});

test.each([
  ["nothing", ""],
  ["half a block", ca.certPem.slice(0, 300)],
  ["a torn boundary", ca.certPem.replace("-----END CERTIFICATE-----", "-----END CERTIF")],
  ["a block that ends as another", ca.certPem.replace("END CERTIFICATE", "END PRIVATE KEY")],
  ["a block in a block", `-----BEGIN CERTIFICATE-----\n${ca.certPem}`],
  ["no base64", ca.certPem.replace("MII", "M!I").replace("MIH", "M!H").replace("MIB", "M!B")],
  ["an empty block", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"],
])("a PEM text with %s has no certificates", (_what, text) => {
  expect(() => parsePemCertificates(text, "svid.pem")).toThrow(expect.objectContaining({ code: "E_PEM" }));
});

test("other blocks are told by their label", () => {
  expect(parsePem(ca.keyPem + ca.certPem, "both.pem").map(({ label }) => label)).toEqual([
    "PRIVATE KEY",
    "CERTIFICATE",
  ]);
});
