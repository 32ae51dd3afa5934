/** A small DER writer for tests. Every helper returns whole TLVs, so that a test can also build what DER forbids. */
export type Der = Buffer;

export function tlv(tag: number, ...content: readonly Uint8Array[]): Der {
  const body = Buffer.concat(content);
  return Buffer.concat([Buffer.from([tag]), lengthBytes(body.length), body]);
}

/** Like tlv, with the length in one byte more than needed: valid BER, never DER. */
export function berTlv(tag: number, ...content: readonly Uint8Array[]): Der {
  const body = Buffer.concat(content);
  const minimal = lengthBytes(body.length);
  const padded =
    minimal.length === 1
      ? Buffer.from([0x81, body.length])
      : Buffer.concat([Buffer.from([0x80 | minimal.length, 0]), minimal.subarray(1)]);
  return Buffer.concat([Buffer.from([tag]), padded, body]);
}

function lengthBytes(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  if (length < 0x100) return Buffer.from([0x81, length]);
  if (length < 0x10000) return Buffer.from([0x82, length >> 8, length & 0xff]);
  return Buffer.from([0x83, length >> 16, (length >> 8) & 0xff, length & 0xff]);
}

export const sequence = (...content: readonly Uint8Array[]): Der => tlv(0x30, ...content);
export const set = (...content: readonly Uint8Array[]): Der => tlv(0x31, ...content);
export const octets = (content: Uint8Array): Der => tlv(0x04, content);
export const bits = (content: Uint8Array, unused = 0): Der => tlv(0x03, Buffer.from([unused]), content);
export const bool = (value: boolean): Der => tlv(0x01, Buffer.from([value ? 0xff : 0]));
export const nullValue = (): Der => tlv(0x05);
export const utf8 = (text: string): Der => tlv(0x0c, Buffer.from(text, "utf8"));

export function integer(value: bigint | number): Der {
  let hex = BigInt(value).toString(16);
  if (hex.length % 2 === 1) hex = `0${hex}`;
  const bytes = Buffer.from(hex, "hex");
  return tlv(0x02, (bytes[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes);
}

export function oid(text: string): Der {
  const [first = 0, second = 0, ...rest] = text.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const septets = [arc & 0x7f];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
      septets.unshift((left & 0x7f) | 0x80);
    bytes.push(...septets);
  }
  return tlv(0x06, Buffer.from(bytes));
}

/** UTCTime up to 2049, GeneralizedTime after (RFC 5280 section 4.1.2.5). Fractions of a second are cut. */
export function time(ms: number): Der {
  const text = `${new Date(ms).toISOString().replace(/[-:T]/g, "").slice(0, 14)}Z`;
  const year = Number(text.slice(0, 4));
  return year >= 1950 && year < 2050 ? tlv(0x17, Buffer.from(text.slice(2))) : tlv(0x18, Buffer.from(text));
}

/** A named bit list: trailing zero bits are cut, as DER wants it. */
export function bitList(positions: readonly number[]): Der {
  if (positions.length === 0) return bits(Buffer.alloc(0));
  const last = Math.max(...positions);
  const bytes = Buffer.alloc((last >> 3) + 1);
  for (const position of positions) bytes[position >> 3] = (bytes[position >> 3] ?? 0) | (0x80 >> (position & 7));
  return bits(bytes, 7 - (last & 7));
}
