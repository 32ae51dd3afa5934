import { describe, expect, test } from "vitest";
import { oid, sequence, set, tlv, utf8 } from "../../test/support/der-writer.ts";
import { DerError } from "./der.ts";
import type { GeneralName } from "./general-name.ts";
import { nameConstraintsProblem, readNameConstraints } from "./name-constraints.ts";

const kinds = { email: 1, dns: 2, directory: 4, uri: 6, ip: 7, registeredId: 8 } as const;
type Kind = keyof typeof kinds;

const commonName = (text: string, tag = 0x0c): Buffer => set(sequence(oid("2.5.4.3"), tlv(tag, Buffer.from(text))));
const contentOf = (kind: Kind, value: string): Buffer => {
  if (kind === "ip") return Buffer.from(value, "hex");
  if (kind === "directory") return sequence(commonName("corp"), ...(value === "" ? [] : [commonName(value)]));
  return Buffer.from(value, "latin1");
};
const nameOf = (kind: Kind, value: string): GeneralName => ({ kind: kinds[kind], content: contentOf(kind, value) });
const tagOf = (kind: Kind): number => (kind === "directory" ? 0xa0 : 0x80) | kinds[kind];
const constraint = (side: "permitted" | "excluded", kind: Kind, base: string): Buffer =>
  sequence(tlv(side === "permitted" ? 0xa0 : 0xa1, sequence(tlv(tagOf(kind), contentOf(kind, base)))));

const rows: readonly (readonly [Kind, base: string, name: string, isCovered: boolean])[] = [
  ["uri", "example.org", "spiffe://example.org/web", true],
  ["uri", "example.org", "spiffe://a.example.org/web", false],
  ["uri", ".example.org", "spiffe://a.example.org/web", true],
  ["uri", ".example.org", "spiffe://badexample.org/web", false],
  ["uri", "", "spiffe://anything/web", true],
  ["dns", "example.org", "example.org", true],
  ["dns", "example.org", "a.b.EXAMPLE.org", true],
  ["dns", "example.org", "badexample.org", false],
  ["dns", ".example.org", "a.example.org", true],
  ["dns", "", "a.example.org", true],
  ["ip", "0a000000ff000000", "0a010203", true],
  ["ip", "0a000000ff000000", "0b010203", false],
  ["ip", "0a000000ff000000", "0a0102030a0102030a0102030a010203", false],
  ["directory", "", "web", true],
  ["directory", "web", "web", true],
  ["directory", "WEB", " web", true],
  ["directory", "web", "other", false],
];

describe("a name that a base covers is excluded by it, any other is not permitted by it", () => {
  test.each(rows)("%s %j covers %j: %s", (kind, base, name, isCovered) => {
    const names = { subject: sequence(), subjectAltNames: [nameOf(kind, name)] };
    const permitted = nameConstraintsProblem(readNameConstraints(constraint("permitted", kind, base)), names);
    const excluded = nameConstraintsProblem(readNameConstraints(constraint("excluded", kind, base)), names);
    expect([permitted === undefined, excluded === undefined]).toEqual([isCovered, !isCovered]);
  });
});

test("a kind of name that the constraints do not speak about is free", () => {
  const names = {
    subject: sequence(commonName("x")),
    subjectAltNames: [nameOf("dns", "a.org"), nameOf("ip", "01020304")],
  };
  expect(
    nameConstraintsProblem(readNameConstraints(constraint("permitted", "uri", "example.org")), names),
  ).toBeUndefined();
});

test("a wildcard that could stand for an excluded name is excluded", () => {
  const constraints = readNameConstraints(constraint("excluded", "dns", "secret.example.org"));
  const problem = (dns: string): string | undefined =>
    nameConstraintsProblem(constraints, { subject: sequence(), subjectAltNames: [nameOf("dns", dns)] });
  expect(problem("*.example.org")).toContain("excluded");
  expect(problem("*.example.com")).toBeUndefined();
});

test("a subject counts as a directory name, whatever kind of string it is made of", () => {
  const constraints = readNameConstraints(constraint("excluded", "directory", "web"));
  const subject = sequence(
    commonName("Corp", 0x13),
    commonName("Web", 0x16),
    set(sequence(oid("2.5.4.11"), utf8("x"))),
  );
  expect(nameConstraintsProblem(constraints, { subject, subjectAltNames: [] })).toContain("excluded");
});

test("a kind that cannot be compared breaks the constraints that name it", () => {
  const email = readNameConstraints(constraint("excluded", "email", "example.org"));
  const subject = sequence(set(sequence(oid("1.2.840.113549.1.9.1"), tlv(0x16, Buffer.from("a@example.com")))));
  expect(nameConstraintsProblem(email, { subject: sequence(), subjectAltNames: [nameOf("email", "a@b.c")] })).toContain(
    "cannot be checked",
  );
  expect(nameConstraintsProblem(email, { subject, subjectAltNames: [] })).toContain("cannot be checked");
  expect(
    nameConstraintsProblem(email, { subject: sequence(), subjectAltNames: [nameOf("dns", "b.c")] }),
  ).toBeUndefined();
});

test.each<readonly [string, Buffer]>([
  ["no subtree", sequence()],
  ["a whole URI as base", constraint("excluded", "uri", "spiffe://example.org")],
  ["an address without mask", constraint("excluded", "ip", "0a000001")],
  ["a minimum", sequence(tlv(0xa0, sequence(tlv(0x86, Buffer.from("a")), tlv(0x80, Buffer.from([1])))))],
  ["bytes left over", Buffer.concat([constraint("excluded", "uri", "a.org"), Buffer.from([0])])],
])("constraints with %s are refused", (_what, der) => {
  expect(() => readNameConstraints(der)).toThrow(DerError);
});
