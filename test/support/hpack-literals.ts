import { HpackDecoder } from "../../src/proxy/http2/hpack-decoder.ts";
import type { HeaderField } from "../../src/proxy/http2/hpack-field.ts";
import { CODE_LENGTHS } from "../../src/proxy/http2/huffman.ts";

/** Huffman-codes text, one byte a character (RFC 7541 section 5.2): our encoder never does. */
export function huffman(text: string): Buffer {
  let bits = "";
  for (const char of text) bits += CODES[char.charCodeAt(0)];
  return fromBits(bits.padEnd(Math.ceil(bits.length / 8) * 8, "1"));
}

/** The bits of EOS. */
export function endOfString(): string {
  return CODES[256] as string;
}

/** Bytes of a text of zeros and ones, whole bytes of them. */
export function fromBits(bits: string): Buffer {
  return Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
}

/** Section 5.1: a number behind `bits` in the first byte above a prefix of `prefix` bits. */
export function integer(bits: number, prefix: number, value: number): Buffer {
  const max = 2 ** prefix - 1;
  if (value < max) return Buffer.of(bits | value);
  const bytes = [bits | max];
  let rest = value - max;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push(128 | (rest % 128));
  return Buffer.from([...bytes, rest]);
}

/** A string literal. */
export function string(text: string, coded = false): Buffer {
  const bytes = coded ? huffman(text) : Buffer.from(text, "latin1");
  return Buffer.concat([integer(coded ? 0x80 : 0, 7, bytes.length), bytes]);
}

/** A literal field with a literal name: indexed 0x40, not 0x00, never 0x10. */
export function literal(kind: 0x40 | 0x00 | 0x10, name: string, value: string, coded = false): Buffer {
  return Buffer.concat([Buffer.of(kind), string(name, coded), string(value, coded)]);
}

export type Pairs = readonly (readonly [name: string, value: string])[];

/** These fields as a decoder would hand them on. */
export function fieldsOf(pairs: Pairs): readonly HeaderField[] {
  const block = Buffer.concat(pairs.map(([name, value]) => literal(0x00, name, value)));
  const decoder = new HpackDecoder({ tableBytes: 4096, listBytes: 1_000_000, fields: 1000 });
  const reason = decoder.decode(block, 0, block.length);
  if (reason !== undefined) throw new Error(reason);
  return decoder.fields.slice(0, decoder.count);
}

const CODES: string[] = [];
{
  const values = CODE_LENGTHS.map((_, value) => value);
  values.sort((a, b) => (CODE_LENGTHS[a] ?? 0) - (CODE_LENGTHS[b] ?? 0) || a - b);
  let code = 0;
  let length = 0;
  for (const value of values) {
    const bits = CODE_LENGTHS[value] ?? 0;
    code *= 2 ** (bits - length);
    length = bits;
    CODES[value] = code.toString(2).padStart(bits, "0");
    code++;
  }
}
