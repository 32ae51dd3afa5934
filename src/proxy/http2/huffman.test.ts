import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { endOfString, fromBits, huffman } from "../../../test/support/hpack-literals.ts";
import { CODE_LENGTHS, decodeHuffman } from "./huffman.ts";

function decode(coded: Buffer): string | undefined {
  const out = Buffer.alloc(Math.ceil((8 * coded.length) / 5));
  const length = decodeHuffman(coded, 0, coded.length, out);
  return length === -1 ? undefined : out.toString("latin1", 0, length);
}

/** Bits filled up with ones to a whole number of bytes. */
const padded = (bits: string): Buffer => fromBits(bits.padEnd(Math.ceil(bits.length / 8) * 8, "1"));

describe("Huffman codes", () => {
  test("are a complete code: no bit pattern is left over", () => {
    expect(CODE_LENGTHS).toHaveLength(257);
    expect(CODE_LENGTHS.reduce((sum, length) => sum + 2 ** -length, 0)).toBe(1);
  });

  test.each([
    ["www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"],
    ["no-cache", "a8eb10649cbf"],
    ["custom-value", "25a849e95bb8e8b4bf"],
    ["Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"],
    ["", ""],
  ])("of %j is what the RFC shows", (text, hex) => {
    expect(huffman(text).toString("hex")).toBe(hex);
    expect(decode(Buffer.from(hex, "hex"))).toBe(text);
  });

  test("of every byte value, alone and beside every other, come back", () => {
    for (let a = 0; a < 256; a++) {
      expect(decode(huffman(String.fromCharCode(a)))).toBe(String.fromCharCode(a));
      const text = Array.from({ length: 256 }, (_, b) => String.fromCharCode(a, b)).join("");
      expect(decode(huffman(text))).toBe(text);
    }
  });

  test("of any text come back", () => {
    const text = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString("latin1"));
    fc.assert(fc.property(text, (value) => decode(huffman(value)) === value));
  });

  test("decode inside a larger buffer, and touch nothing else", () => {
    const coded = huffman("inside");
    const out = Buffer.alloc(20, 0xee);
    const bytes = Buffer.concat([Buffer.of(0xff, 0xff), coded, Buffer.of(0xff)]);
    expect(decodeHuffman(bytes, 2, 2 + coded.length, out)).toBe(6);
    expect(out.subarray(6).every((byte) => byte === 0xee)).toBe(true);
  });

  /** '0' is 00000, 'a' is 00011, 'X' (8 bits) is 11111100. */
  test.each([
    ["padding of eight ones", padded("11111100".padEnd(16, "1"))],
    ["padding of eight ones alone", fromBits("11111111")],
    ["padding of more bytes of ones", padded("00000".padEnd(24, "1"))],
    ["padding of zeros", fromBits("00011000")],
    ["padding with a zero in it", fromBits("00011101")],
    ["padding with a zero at its end", fromBits("00011110")],
    ["EOS alone", padded(endOfString())],
    ["EOS behind a text", padded(`00011${endOfString()}`)],
    ["EOS before a text", padded(`${endOfString()}00011`)],
    ["a code cut short", fromBits("11111110")],
  ])("are refused with %s", (_name, coded) => {
    expect(decode(coded)).toBeUndefined();
  });

  test.each([
    [0, "X"],
    [1, ":"],
    [2, "b"],
    [3, "a"],
    [4, "bb"],
    [5, "a:b:aa"],
    [6, "aa"],
    [7, "aaaaa"],
  ])("bear %i bits of padding, of ones", (bits, text) => {
    const used = Array.from(text).reduce((sum, char) => sum + (CODE_LENGTHS[char.charCodeAt(0)] ?? 0), 0);
    expect(8 * huffman(text).length - used).toBe(bits);
    expect(decode(huffman(text))).toBe(text);
  });

  test("never write more than 8/5 of what they take, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const room = Math.ceil((8 * bytes.length) / 5);
        const out = Buffer.alloc(room + 8, 0xee);
        expect(decodeHuffman(bytes, 0, bytes.length, out)).toBeLessThanOrEqual(room);
        expect(out.subarray(room).every((byte) => byte === 0xee)).toBe(true);
      }),
    );
  });
});
