import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Pairs } from "../../../test/support/hpack-literals.ts";
import type { Fields } from "../http1/http1-events.ts";
import { OutputBuffer } from "../http1/output-buffer.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { HpackEncoder } from "./hpack-encoder.ts";

/** An encoder and the decoder of its peer. */
class Pair {
  readonly encoder = new HpackEncoder();
  readonly decoder = new HpackDecoder({ tableBytes: 4096, listBytes: 1_000_000, fields: 1000 });
  readonly out = new OutputBuffer();

  /** Encodes a block by `write`, decodes it, and returns its bytes. */
  block(write: (encoder: HpackEncoder, out: OutputBuffer) => void): Buffer {
    this.encoder.begin(this.out);
    write(this.encoder, this.out);
    const bytes = this.out.take();
    expect(this.decoder.decode(bytes, 0, bytes.length)).toBeUndefined();
    return bytes;
  }

  /** The same for these fields, which must come out. */
  send(pairs: Pairs): Buffer {
    const bytes = this.block((encoder, out) => {
      for (const [name, value] of pairs) encoder.field(out, name, value);
    });
    expect(this.received()).toEqual(pairs);
    return bytes;
  }

  /** The same as a run. */
  run(pairs: Pairs, key = pairs.map(([name, value]) => `${name}: ${value}\r\n`).join("")): Buffer {
    const fields: Fields = { raw: pairs.flat(), lower: pairs.map(([name]) => name) };
    const bytes = this.block((encoder, out) => encoder.run(out, key, fields, 0, pairs.length));
    expect(this.received()).toEqual(pairs);
    return bytes;
  }

  received(): Pairs {
    return this.decoder.fields.slice(0, this.decoder.count).map(({ name, value }) => [name, value]);
  }
}

const REQUEST: Pairs = [
  [":method", "GET"],
  [":scheme", "https"],
  [":authority", "orders.shop.svc:8080"],
  [":path", "/api/v1/orders"],
  ["user-agent", "Mozilla/5.0 (X11; Linux x86_64)"],
  ["accept", "*/*"],
  ["x-tenant", "acme"],
];

describe("encoded fields", () => {
  test.each<[name: string, value: string, hex: string]>([
    [":method", "GET", "82"],
    [":method", "POST", "83"],
    [":path", "/", "84"],
    [":path", "/index.html", "85"],
    [":scheme", "http", "86"],
    [":scheme", "https", "87"],
    [":status", "200", "88"],
    [":status", "500", "8e"],
    ["accept-encoding", "gzip, deflate", "90"],
  ])("%s: %s is an entry of the static table", (name, value, hex) => {
    expect(new Pair().send([[name, value]]).toString("hex")).toBe(hex);
  });

  test.each([100, 103, 200, 204, 206, 299, 304, 400, 404, 500, 503, 999])("status %i comes out", (status) => {
    const pair = new Pair();
    for (let round = 0; round < 3; round++) {
      const bytes = pair.block((encoder, out) => encoder.status(out, status));
      expect(pair.received()).toEqual([[":status", String(status)]]);
      if (round === 2) expect(bytes).toHaveLength(1);
    }
  });

  test("are one byte each once they came three times", () => {
    const pair = new Pair();
    pair.send(REQUEST);
    pair.send(REQUEST);
    expect(pair.send(REQUEST)).toHaveLength(REQUEST.length);
  });

  test("that came but once take no place in the table", () => {
    const pair = new Pair();
    const first = pair.send([["x-a", "1"]]);
    expect(first[0]).toBe(0x00);
    expect(pair.send([["x-a", "2"]])[0]).toBe(0x00);
    expect(pair.send([["x-a", "1"]])[0]).toBe(0x40);
    expect(pair.send([["x-a", "1"]])).toEqual(Buffer.of(0xbe));
  });

  test.each(["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"])(
    "%s is marked as never to be indexed, however often it comes",
    (name) => {
      const pair = new Pair();
      for (let round = 0; round < 5; round++) {
        const bytes = pair.send([[name, "s3cret"]]);
        expect((bytes[0] ?? 0) & 0xf0).toBe(0x10);
        expect(pair.run([[name, "s3cret"]])).toEqual(bytes);
      }
    },
  );

  test.each(["x-request-id", "traceparent", "content-length", "date", "etag"])(
    "%s leaves the table alone once its name is in it, whatever its value",
    (name) => {
      const pair = new Pair();
      pair.send([[name, "0"]]);
      const length = pair.send([[name, "1"]]).length;
      for (let round = 0; round < 200; round++) {
        const bytes = pair.send([[name, String(round % 10)]]);
        expect((bytes[0] ?? 0) & 0xf0).toBe(0x00);
        expect(bytes).toHaveLength(length);
      }
      // name by index
      expect(length).toBeLessThanOrEqual(4);
    },
  );

  test.each<[string, string, string]>([
    ["a line end in a value", "x-a", "b\r\nc: d"],
    ["a NUL in a value", "x-a", "\0"],
    ["a line end in a secret", "authorization", "a\nb"],
    ["a line end in a long value", "x-a", `${"v".repeat(100)}\n`],
    ["a line end in a value to be indexed", "user-agent", "a\nb"],
    ["a line end in a changing value", "x-request-id", "a\nb"],
    ["a character of two bytes in a value", "x-a", "\u0141"],
    ["an upper-case name", "X-A", "b"],
    ["an empty name", "", "b"],
    ["a name that is no token", "x a", "b"],
    ["a pseudo-header nobody knows", ":paths", "b"],
  ])("%s is a TypeError, and the next block is right", (_what, name, value) => {
    const pair = new Pair();
    for (let round = 0; round < 3; round++) pair.send(REQUEST);
    pair.encoder.begin(pair.out);
    for (let round = 0; round < 3; round++) pair.encoder.field(pair.out, "x-lost", "with the block");
    expect(() => pair.encoder.field(pair.out, name, value)).toThrow(TypeError);
    pair.out.reset();
    for (let round = 0; round < 3; round++) pair.send([...REQUEST, ["x-lost", "with the block"]]);
    expect(pair.send(REQUEST)).toHaveLength(REQUEST.length);
  });

  test("the error of a bad value doesn't hold it", () => {
    const pair = new Pair();
    expect(() => pair.encoder.field(pair.out, "authorization", "s3cret\n")).toThrow(/^(?!.*s3cret).*$/);
  });
});

describe("the encoder's table", () => {
  test("is never larger than the peer allows: sizes are announced at the next block", () => {
    const pair = new Pair();
    for (let round = 0; round < 3; round++) pair.send(REQUEST);
    pair.encoder.setMaxTableBytes(0);
    expect(pair.send(REQUEST)[0]).toBe(0x20);
    for (let round = 0; round < 5; round++) expect(pair.send([["x-a", "1"]])[0]).toBe(0x00);
    pair.encoder.setMaxTableBytes(200);
    expect(pair.send([])).toEqual(Buffer.of(0x3f, 0x80 | ((200 - 31) & 0x7f), (200 - 31) >> 7));
  });

  test("announces the smallest size that it had between two blocks, then the last", () => {
    const pair = new Pair();
    for (let round = 0; round < 3; round++) pair.send(REQUEST);
    pair.encoder.setMaxTableBytes(100);
    pair.encoder.setMaxTableBytes(10);
    pair.encoder.setMaxTableBytes(4096);
    const bytes = pair.send(REQUEST);
    expect(bytes.subarray(0, 4)).toEqual(Buffer.of(0x2a, 0x3f, 0xe1, 0x1f));
    for (let round = 0; round < 2; round++) pair.send(REQUEST);
    expect(pair.send(REQUEST)).toHaveLength(REQUEST.length);
  });

  test.each([4096, 65_536, 4_294_967_295])("stays at 4096 bytes when the peer allows %i, and says nothing", (bytes) => {
    const pair = new Pair();
    pair.encoder.setMaxTableBytes(bytes);
    expect(pair.send([])).toHaveLength(0);
  });

  test("is filled to its last byte", () => {
    const pair = new Pair();
    pair.encoder.setMaxTableBytes(4 * 34);
    const four: Pairs = ["a", "b", "c", "d"].map((name) => [name, "1"]);
    for (let round = 0; round < 2; round++) pair.send(four);
    expect(pair.send(four)).toHaveLength(4);
  });

  test("is not flushed by one large field", () => {
    const pair = new Pair();
    const large: Pairs = [["x-large", "v".repeat(3000)]];
    for (let round = 0; round < 3; round++) pair.send(REQUEST);
    for (let round = 0; round < 50; round++) pair.send(large);
    expect(pair.send(REQUEST)).toHaveLength(REQUEST.length);
  });

  test("is not flushed by values that never come again", () => {
    const pair = new Pair();
    for (let round = 0; round < 3; round++) pair.send(REQUEST);
    for (let round = 0; round < 1000; round++) pair.send([["x-session", `session-${String(round).padStart(12, "0")}`]]);
    for (let round = 0; round < 1000; round++) pair.send([[":path", `/orders/${round}`]]);
    expect(pair.send(REQUEST)).toHaveLength(REQUEST.length);
  });

  test("changes seldom when more values come again and again than fit", () => {
    const pair = new Pair();
    let added = 0;
    for (let round = 0; round < 50; round++) {
      for (let tenant = 0; tenant < 100; tenant++) {
        // each value twice in a row: at its second sight the encoder would like to have it in the table
        for (let twice = 0; twice < 2; twice++) {
          if (pair.send([["x-tenant", `tenant-${tenant}`.padEnd(60, "x")]])[0] === 0x40) added++;
        }
      }
    }
    // those that fit at first, then one for 32 that were found
    expect(added).toBeLessThan(50 + 10_000 / 32);
  });

  test("follows values that change slowly, and keeps a place for a path", () => {
    const pair = new Pair();
    for (let version = 0; version < 100; version++) {
      const fields: Pairs = [["x-version", String(version).padEnd(100, "x")], ...REQUEST];
      let shortest = Number.POSITIVE_INFINITY;
      for (let round = 0; round < 160; round++) shortest = Math.min(shortest, pair.send(fields).length);
      expect(shortest).toBe(fields.length);
    }
  });

  test("holds the same as the peer's, whatever is sent and whatever sizes the peer allows", () => {
    const name = fc.constantFrom(
      "x-a",
      "x-b",
      "x-c",
      "user-agent",
      "authorization",
      "x-request-id",
      "traceparent",
      "content-type",
      ":path",
      "server",
      "te",
    );
    const value = fc.oneof(
      fc.constantFrom("", "1", "2", "/", "a".repeat(30), "b".repeat(200), "\xe9", "trailers"),
      fc.string({ unit: fc.constantFrom(..."abc".split("")), maxLength: 4 }),
    );
    const pairs = fc.array(fc.tuple(name, value), { maxLength: 8 });
    const step = fc.oneof(
      { weight: 6, arbitrary: pairs.map((fields) => ({ fields, as: "fields" as const })) },
      { weight: 6, arbitrary: pairs.map((fields) => ({ fields, as: "run" as const })) },
      { weight: 1, arbitrary: fc.constantFrom(0, 31, 40, 100, 300, 1000, 4096, 9000).map((size) => ({ size })) },
      { weight: 1, arbitrary: fc.constantFrom(..."xyz".split("")).map((lost) => ({ lost })) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 4 }), (steps, rounds) => {
        const pair = new Pair();
        for (let round = 0; round < rounds; round++) {
          for (const one of steps) {
            if ("size" in one) pair.encoder.setMaxTableBytes(one.size);
            else if ("lost" in one) {
              pair.encoder.begin(pair.out);
              for (let twice = 0; twice < 2; twice++) pair.encoder.field(pair.out, "x-lost", one.lost);
              expect(() => pair.encoder.field(pair.out, "x-lost", "\n")).toThrow(TypeError);
              pair.out.reset();
            } else if (one.as === "run") pair.run(one.fields);
            else pair.send(one.fields);
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("a run of fields", () => {
  const RUN: Pairs = [
    ["user-agent", "curl/8.5.0"],
    ["accept", "*/*"],
    ["x-tenant", "acme"],
    ["authorization", "Bearer s3cret"],
  ];

  test("is the same as its fields one by one", () => {
    const one = new Pair();
    const other = new Pair();
    for (let round = 0; round < 8; round++) expect(one.run(RUN)).toEqual(other.send(RUN));
  });

  test("is encoded anew when the table has changed in between", () => {
    const pair = new Pair();
    for (let round = 0; round < 5; round++) pair.run(RUN);
    for (let round = 0; round < 40; round++) {
      pair.send([["x-new", `${round >> 1}`]]);
      pair.run(RUN);
    }
  });

  test("of another text is not taken for it", () => {
    const pair = new Pair();
    for (let round = 0; round < 100; round++) {
      pair.run([["x-a", `a${round % 3}b`]]);
      pair.run([
        ["x-a", `a${round % 5}b`],
        ["x-b", ""],
      ]);
    }
  });

  test("of fields in the middle of a head has only these", () => {
    const pair = new Pair();
    const fields: Fields = { raw: ["A", "1", "B", "2", "C", "3", "D", "4"], lower: ["a", "b", "c", "d"] };
    for (let round = 0; round < 5; round++) {
      pair.block((encoder, out) => encoder.run(out, "B: 2\r\nC: 3\r\n", fields, 1, 3));
      expect(pair.received()).toEqual([
        ["b", "2"],
        ["c", "3"],
      ]);
    }
  });

  test("may be empty", () => {
    expect(new Pair().run([])).toHaveLength(0);
  });

  test("that changes each time, or is very large, comes out right too", () => {
    const pair = new Pair();
    for (let round = 0; round < 200; round++) {
      pair.run([...RUN, ["x-request-id", `${round}`]]);
      pair.run([["x-large", "v".repeat(5000 + (round % 2))]]);
    }
    for (let round = 0; round < 200; round++) pair.run(RUN);
  });
});
