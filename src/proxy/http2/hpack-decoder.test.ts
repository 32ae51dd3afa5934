import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { integer, literal, string } from "../../../test/support/hpack-literals.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import {
  type HeaderField,
  ROLE_CONNECTION_SPECIFIC,
  ROLE_COOKIE,
  ROLE_HOST,
  ROLE_IMITATION,
  ROLE_METHOD,
  ROLE_NONE,
  ROLE_PROTOCOL,
  ROLE_UNKNOWN_PSEUDO,
} from "./hpack-field.ts";

const LIMITS = { tableBytes: 4096, listBytes: 61_440, fields: 100 };
const INDEXED_METHOD = Buffer.of(0x82);

function decode(decoder: HpackDecoder, ...parts: readonly Buffer[]): string | undefined {
  const block = Buffer.concat(parts);
  return decoder.decode(block, 0, block.length);
}

function fieldsOf(decoder: HpackDecoder): readonly HeaderField[] {
  return decoder.fields.slice(0, decoder.count);
}

function linesOf(decoder: HpackDecoder): readonly string[] {
  return fieldsOf(decoder).map(({ name, value }) => `${name}: ${value}`);
}

function one(name: string, value: string, coded = false): HeaderField {
  const decoder = new HpackDecoder(LIMITS);
  expect(decode(decoder, literal(0x00, name, value, coded))).toBeUndefined();
  const [field, more] = fieldsOf(decoder);
  if (field === undefined || more !== undefined) throw new Error("not one field");
  return field;
}

describe("a header block", () => {
  test("may be empty, or a size update alone", () => {
    const decoder = new HpackDecoder(LIMITS);
    expect(decode(decoder)).toBeUndefined();
    expect(decode(decoder, integer(0x20, 5, 100))).toBeUndefined();
    expect(decoder.count).toBe(0);
  });

  test("is decoded in the middle of a buffer, from any kind of byte array", () => {
    const decoder = new HpackDecoder(LIMITS);
    const block = literal(0x00, "a", "middle");
    const bytes = new Uint8Array([0xff, 0xff, ...block, 0xff, 0xff]);
    expect(decoder.decode(bytes, 2, 2 + block.length)).toBeUndefined();
    expect(linesOf(decoder)).toEqual(["a: middle"]);
  });

  test("puts a field into the table only where it says so", () => {
    for (const [kind, kept] of [
      [0x40, true],
      [0x00, false],
      [0x10, false],
    ] as const) {
      const decoder = new HpackDecoder(LIMITS);
      expect(decode(decoder, literal(kind, "x-a", "1"))).toBeUndefined();
      expect(decode(decoder, integer(0x80, 7, 62)) === undefined).toBe(kept);
    }
  });

  test("shares a field among all references to its entry, and the name among its values", () => {
    const decoder = new HpackDecoder(LIMITS);
    decode(decoder, literal(0x40, "x-a", "1"), Buffer.of(0xbe, 0xbe), integer(0x40, 6, 62), string("2"));
    const [first, second, third, fourth] = fieldsOf(decoder);
    expect(first).toBe(second);
    expect(second).toBe(third);
    expect(fourth).toMatchObject({ name: "x-a", value: "2" });
  });

  const broken: readonly (readonly [string, string, readonly Buffer[]])[] = [
    ["index 0", "no entry", [Buffer.of(0x80)]],
    ["an index behind the static table with an empty dynamic one", "no entry", [Buffer.of(0xbe)]],
    ["an index behind the dynamic table", "no entry", [literal(0x40, "a", "b"), Buffer.of(0xbf)]],
    ["a name index behind the tables", "no entry", [Buffer.of(0x7f, 0x00), string("x")]],
    ["a name index behind the tables, not to be indexed", "no entry", [Buffer.of(0x0f, 0x2f), string("x")]],
    [
      "an entry that was evicted",
      "no entry",
      [integer(0x20, 5, 33), literal(0x40, "a", ""), literal(0x40, "b", ""), Buffer.of(0xbf)],
    ],
    ["an entry larger than the table", "no entry", [integer(0x20, 5, 33), literal(0x40, "a", "b"), Buffer.of(0xbe)]],
    ["an index without its end", "ends inside", [Buffer.of(0xff)]],
    ["an index without its end, later", "ends inside", [Buffer.of(0xff, 0x80)]],
    ["an index of five bytes", "too large", [Buffer.of(0xff, 0x80, 0x80, 0x80, 0x80, 0x01)]],
    ["an index of many zeros", "too large", [Buffer.concat([Buffer.of(0xff), Buffer.alloc(200, 0x80), Buffer.of(0)])]],
    ["an index beyond 32 bits", "too large", [Buffer.of(0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)]],
    ["a large index", "no entry", [Buffer.of(0xff, 0xff, 0xff, 0xff, 0x7f)]],
    ["a size without its end", "ends inside", [Buffer.of(0x3f)]],
    ["a size of too many bytes", "too large", [Buffer.of(0x3f, 0xff, 0xff, 0xff, 0xff, 0x0f)]],
    ["a literal without name", "ends inside", [Buffer.of(0x40)]],
    ["a literal without value", "ends inside", [Buffer.of(0x40), string("a")]],
    ["a literal with an indexed name without value", "ends inside", [Buffer.of(0x44)]],
    ["a name index without its end", "ends inside", [Buffer.of(0x7f)]],
    ["a name longer than the block", "ends inside", [Buffer.of(0x40, 0x05), Buffer.from("abcd")]],
    ["a value longer than the block", "ends inside", [Buffer.of(0x44, 0x05), Buffer.from("abcd")]],
    ["a length of many bytes", "too large", [Buffer.of(0x44, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01)]],
    ["a length without its end", "ends inside", [Buffer.of(0x44, 0x7f, 0x80)]],
    ["a string of 256 MiB", "ends inside", [Buffer.of(0x44, 0xff, 0xff, 0xff, 0xff, 0x7f)]],
    ["a name that is no Huffman code", "Huffman", [Buffer.of(0x40, 0x81, 0xff), string("x")]],
    ["a value that is no Huffman code", "Huffman", [Buffer.of(0x44, 0x81, 0x18)]],
    ["a value that holds EOS", "Huffman", [Buffer.of(0x44, 0x84, 0xff, 0xff, 0xff, 0xff)]],
    ["a size update behind a field", "behind a field", [INDEXED_METHOD, integer(0x20, 5, 100)]],
    ["a size update behind a literal", "behind a field", [literal(0x00, "a", "b"), integer(0x20, 5, 100)]],
    ["a table larger than announced", "larger", [integer(0x20, 5, 4097)]],
  ];
  test.each(broken)("is refused with %s", (_name, reason, parts) => {
    expect(decode(new HpackDecoder(LIMITS), ...parts)).toContain(reason);
  });

  test("says nothing of what it held in its reason", () => {
    const reason = decode(new HpackDecoder(LIMITS), literal(0x00, "authorization", "s3cret"), Buffer.of(0x80));
    expect(reason).not.toContain("s3cret");
  });

  test("of any bytes is decoded or refused, without a throw, and within the limits", () => {
    const limits = { tableBytes: 128, listBytes: 300, fields: 6 };
    const part = fc.oneof(
      fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes)),
      fc
        .tuple(
          fc.constantFrom(0x40, 0x00, 0x10),
          fc.string({ maxLength: 20 }),
          fc.string({ maxLength: 40 }),
          fc.boolean(),
        )
        .map(([kind, name, value, coded]) => literal(kind as 0x40, name, value, coded)),
      fc.integer({ min: 1, max: 70 }).map((index) => integer(0x80, 7, index)),
      fc.integer({ min: 0, max: 140 }).map((size) => integer(0x20, 5, size)),
    );
    fc.assert(
      fc.property(fc.array(fc.array(part, { maxLength: 8 }), { maxLength: 6 }), (blocks) => {
        const decoder = new HpackDecoder(limits);
        for (const parts of blocks) {
          const reason = decode(decoder, ...parts);
          if (reason !== undefined) return;
          expect(decoder.count).toBeLessThanOrEqual(limits.fields);
          const size = fieldsOf(decoder).reduce((sum, { name, value }) => sum + name.length + value.length + 32, 0);
          expect(size).toBeLessThanOrEqual(limits.listBytes);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test("cut short anywhere is refused, or decoded as the fields before the cut", () => {
    const parts = [
      INDEXED_METHOD,
      literal(0x40, "x-a", "some value", true),
      literal(0x00, "x-b", "v".repeat(200)),
      integer(0x40, 6, 62),
      string("again"),
      integer(0x80, 7, 63),
    ];
    const block = Buffer.concat(parts);
    const all = new HpackDecoder(LIMITS);
    all.decode(block, 0, block.length);
    const lines = linesOf(all);
    expect(lines).toHaveLength(5);
    for (let cut = 0; cut < block.length; cut++) {
      const decoder = new HpackDecoder(LIMITS);
      const reason = decoder.decode(block, 0, cut);
      if (reason === undefined) expect(linesOf(decoder)).toEqual(lines.slice(0, decoder.count));
      else expect(reason).toContain("ends inside");
    }
  });
});

describe("the decoder's table", () => {
  test("evicts the oldest entries", () => {
    const decoder = new HpackDecoder({ ...LIMITS, tableBytes: 2 * 34 });
    decode(decoder, literal(0x40, "a", "1"), literal(0x40, "b", "2"), literal(0x40, "c", "3"));
    expect(decode(decoder, Buffer.of(0xbe, 0xbf))).toBeUndefined();
    expect(linesOf(decoder)).toEqual(["c: 3", "b: 2"]);
    expect(decode(decoder, Buffer.of(0xc0))).toBeDefined();
  });

  test("evicts when it is made smaller, and is empty after size 0", () => {
    const decoder = new HpackDecoder(LIMITS);
    decode(decoder, literal(0x40, "a", "1"), literal(0x40, "b", "2"));
    expect(decode(decoder, integer(0x20, 5, 34), Buffer.of(0xbe))).toBeUndefined();
    expect(linesOf(decoder)).toEqual(["b: 2"]);
    expect(decode(decoder, integer(0x20, 5, 0), integer(0x20, 5, 4096))).toBeUndefined();
    expect(decode(decoder, Buffer.of(0xbe))).toBeDefined();
  });

  test("may be made larger again, up to what was announced", () => {
    const decoder = new HpackDecoder(LIMITS);
    expect(decode(decoder, integer(0x20, 5, 0))).toBeUndefined();
    expect(decode(decoder, integer(0x20, 5, 4096), literal(0x40, "a", "1"), Buffer.of(0xbe))).toBeUndefined();
    expect(linesOf(decoder)).toEqual(["a: 1", "a: 1"]);
  });

  test("takes a name from an entry that the new one drives out (RFC 7541 section 4.4)", () => {
    const decoder = new HpackDecoder({ ...LIMITS, tableBytes: 40 });
    expect(
      decode(decoder, literal(0x40, "name", "1"), integer(0x40, 6, 62), string("2"), Buffer.of(0xbe)),
    ).toBeUndefined();
    expect(linesOf(decoder)).toEqual(["name: 1", "name: 2", "name: 2"]);
  });

  test("keeps its order over many more entries than it has places", () => {
    const decoder = new HpackDecoder(LIMITS);
    for (let at = 0; at < 1000; at++) {
      expect(decode(decoder, literal(0x40, `n${at}`, ""))).toBeUndefined();
      const back = Math.min(at, 100);
      expect(decode(decoder, integer(0x80, 7, 62 + back))).toBeUndefined();
      expect(linesOf(decoder)).toEqual([`n${at - back}: `]);
    }
  });

  test("holds 128 entries without name and value, and no more", () => {
    const decoder = new HpackDecoder(LIMITS);
    for (let at = 0; at < 200; at++) decode(decoder, literal(0x40, "", ""));
    expect(decode(decoder, integer(0x80, 7, 62 + 127))).toBeUndefined();
    expect(decode(decoder, integer(0x80, 7, 62 + 128))).toBeDefined();
  });
});

describe("limits of a header list", () => {
  test.each([0, 1])("a list of the limit's size and %i more byte", (more) => {
    const decoder = new HpackDecoder({ ...LIMITS, listBytes: 2 * (32 + 10) });
    expect(
      decode(decoder, literal(0x00, "12345", "12345"), literal(0x00, "12345", "1234".padEnd(5 + more, "x"))),
    ).toBeUndefined();
    expect(decoder.tooLarge).toBe(more === 1);
    expect(decoder.count).toBe(2 - more);
  });

  test.each([0, 1])("a list of the limit's number of fields and %i more", (more) => {
    const decoder = new HpackDecoder({ ...LIMITS, fields: 5 });
    expect(decode(decoder, Buffer.alloc(5 + more, 0x82))).toBeUndefined();
    expect(decoder.tooLarge).toBe(more === 1);
    expect(decoder.count).toBe(5);
  });

  test("a list too large keeps the table right for the next one", () => {
    const decoder = new HpackDecoder({ ...LIMITS, fields: 1 });
    const late = [literal(0x40, "x-a", "1"), literal(0x00, "x-b", "2"), literal(0x40, "x-c", "3")];
    expect(decode(decoder, INDEXED_METHOD, ...late)).toBeUndefined();
    expect(decoder.tooLarge).toBe(true);
    expect(linesOf(decoder)).toEqual([":method: GET"]);
    for (const [index, line] of [
      [0xbe, "x-c: 3"],
      [0xbf, "x-a: 1"],
    ] as const) {
      expect(decode(decoder, Buffer.of(index))).toBeUndefined();
      expect(decoder.tooLarge).toBe(false);
      expect(linesOf(decoder)).toEqual([line]);
    }
  });

  test("what follows a list too large is still judged", () => {
    const decoder = new HpackDecoder({ ...LIMITS, fields: 1 });
    expect(
      decode(decoder, INDEXED_METHOD, INDEXED_METHOD, Buffer.of(0x00), string("a"), Buffer.of(0x81, 0xff)),
    ).toContain("Huffman");
    expect(decode(decoder, INDEXED_METHOD, INDEXED_METHOD, Buffer.of(0x80))).toContain("no entry");
  });

  test("a bomb of references to a large entry is cut at the limit and costs one field", () => {
    const decoder = new HpackDecoder(LIMITS);
    expect(decode(decoder, literal(0x40, "x-bomb", "b".repeat(4000)), Buffer.alloc(16_000, 0xbe))).toBeUndefined();
    expect(decoder.tooLarge).toBe(true);
    expect(decoder.count).toBe(Math.floor(61_440 / 4038));
    expect(new Set(fieldsOf(decoder)).size).toBe(1);
  });
});

describe("a decoded field", () => {
  test.each([
    ["host", ROLE_HOST],
    ["cookie", ROLE_COOKIE],
    [":method", ROLE_METHOD],
    [":protocol", ROLE_PROTOCOL],
    [":paths", ROLE_UNKNOWN_PSEUDO],
    [":", ROLE_UNKNOWN_PSEUDO],
    ["transfer-encoding", ROLE_CONNECTION_SPECIFIC],
    ["content_length", ROLE_IMITATION],
    ["x-a", ROLE_NONE],
  ])("named %s has its role, however the name comes", (name, role) => {
    expect(one(name, "a")).toMatchObject({ name, role });
    expect(one(name, "a", true)).toMatchObject({ name, role });
  });

  test.each(["x-a", "host", "content-type", "x!#$%&'*+-.^_`|~9", ":path", ":x"])("may be named %s", (name) => {
    expect(one(name, "a")).toMatchObject({ name, nameValid: true, valid: true });
  });

  test.each([
    "",
    "X-a",
    "Host",
    "hOst",
    "CONTENT-TYPE",
    "a b",
    "a:",
    "a:b",
    "::a",
    "\xe9",
    "a\0",
    "a\r\nb",
    " a",
    "a\t",
    "(a)",
    ":",
    ":Path",
    ":a b",
  ])("must not be named %j", (name) => {
    expect(one(name, "a")).toMatchObject({ name, nameValid: false, valid: false });
    expect(one(name, "a", true)).toMatchObject({ name, nameValid: false, valid: false });
  });

  test.each(["", "a", "a b\tc", "\xe9\xff", "~", '{"a":1}'])("may have the value %j", (value) => {
    expect(one("x-a", value)).toMatchObject({ value, nameValid: true, valid: true });
    expect(one("x-a", value, true)).toMatchObject({ value, nameValid: true, valid: true });
  });

  test.each(["\0", "a\0b", "a\rb", "a\nb", "a\r\nb", "a\x0bb", "\x7f", "\x1b[0m", " a", "a ", "\ta", "a\t", " ", "\t"])(
    "must not have the value %j",
    (value) => {
      expect(one("x-a", value)).toMatchObject({ value, nameValid: true, valid: false });
      expect(one("x-a", value, true)).toMatchObject({ value, nameValid: true, valid: false });
    },
  );

  test("is judged once, and the same when it comes from the table", () => {
    const decoder = new HpackDecoder(LIMITS);
    decode(decoder, literal(0x40, "Bad", "1"), Buffer.of(0xbe), integer(0x40, 6, 62), string("2"));
    expect(fieldsOf(decoder).map(({ valid }) => valid)).toEqual([false, false, false]);
  });
});
