// A strict, small DER reader (ITU-T X.690 section 10): what is valid BER only is refused, so that no two readers of the
// same certificate can see different things.

/** Bytes that are not strict DER, or not the structure that was asked for. */
export class DerError extends Error {}

/** One element. `content` is a view, not a copy. */
export interface DerElement {
  readonly tag: number;
  readonly content: Uint8Array;
  /** Tag, length and content. */
  readonly raw: Uint8Array;
}

export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Deepest nesting that is followed; certificates need about ten. */
const MAX_DEPTH = 32;

/** Reads the elements of one content, in order. */
export class DerReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** Whether the next element has this tag. */
  next(tag: number): boolean {
    return this.#bytes[this.#at] === tag;
  }

  /** Reads one element of any tag. Throws DerError on BER lengths, multi-byte tags and truncation. */
  read(): DerElement {
    const bytes = this.#bytes;
    const start = this.#at;
    const tag = bytes[start];
    const first = bytes[start + 1];
    if (tag === undefined || first === undefined) throw new DerError("ends in the middle of an element");
    if ((tag & 0x1f) === 0x1f) throw new DerError("has a multi-byte tag");
    let contentStart = start + 2;
    let length = first;
    if (first >= 0x80) {
      const count = first & 0x7f;
      if (count === 0) throw new DerError("has an indefinite length");
      if (count > 4) throw new DerError("has a length of more than four bytes");
      length = 0;
      for (let i = 0; i < count; i++) {
        const byte = bytes[contentStart + i];
        if (byte === undefined) throw new DerError("ends in the middle of a length");
        if (i === 0 && byte === 0) throw new DerError("has a length with a leading zero");
        length = length * 256 + byte;
      }
      contentStart += count;
      if (length < 0x80) throw new DerError("has a length in long form that fits the short form");
    }
    const end = contentStart + length;
    if (end > bytes.length) throw new DerError("ends in the middle of an element");
    this.#at = end;
    return { tag, content: bytes.subarray(contentStart, end), raw: bytes.subarray(start, end) };
  }

  /** Reads one element that must have this tag. */
  expect(tag: number, what: string): DerElement {
    if (!this.next(tag)) throw new DerError(`has no ${what} where one belongs`);
    return this.read();
  }

  /** Reads the next element if it has this tag. */
  optional(tag: number): DerElement | undefined {
    return this.next(tag) ? this.read() : undefined;
  }

  /** Throws unless everything was read. */
  end(what: string): void {
    if (!this.done) throw new DerError(`has bytes left over after ${what}`);
  }
}

/** The one element that fills `bytes` wholly. */
export function readWhole(bytes: Uint8Array, tag: number, what: string): DerElement {
  const reader = new DerReader(bytes);
  const element = reader.expect(tag, what);
  reader.end(what);
  return element;
}

/** Splits DER elements that stand one after the other, as the Workload API sends certificates. */
export function splitSequences(bytes: Uint8Array, what: string): Uint8Array[] {
  const reader = new DerReader(bytes);
  const found: Uint8Array[] = [];
  while (!reader.done) found.push(reader.expect(tags.sequence, what).raw);
  return found;
}

/** Walks everything inside an element and refuses what DER forbids there, also in parts that nobody reads further. */
export function checkStrict(element: DerElement, depth = 0): void {
  if (depth > MAX_DEPTH) throw new DerError("is nested too deeply");
  const { tag, content } = element;
  const isUniversal = (tag & 0xc0) === 0;
  if ((tag & 0x20) !== 0) {
    if (isUniversal && tag !== tags.sequence && tag !== tags.set)
      throw new DerError("has a string or number in constructed form");
    const reader = new DerReader(content);
    while (!reader.done) checkStrict(reader.read(), depth + 1);
    return;
  }
  switch (tag) {
    case 0x10:
    case 0x11:
      throw new DerError("has a SEQUENCE or SET in primitive form");
    case tags.boolean:
      readBoolean(element);
      return;
    case tags.integer:
      checkInteger(content);
      return;
    case tags.bitString:
      readBitString(element);
      return;
    case tags.oid:
      readOid(element);
      return;
    case tags.null:
      if (content.length !== 0) throw new DerError("has a NULL that is not empty");
      return;
  }
}

export function readBoolean({ content }: DerElement): boolean {
  const value = content[0];
  if (content.length !== 1 || (value !== 0 && value !== 0xff)) throw new DerError("has a BOOLEAN that is not 00 or FF");
  return value === 0xff;
}

function checkInteger(content: Uint8Array): void {
  const [first, second] = content;
  if (first === undefined) throw new DerError("has an INTEGER without bytes");
  if (second === undefined) return;
  if ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))
    throw new DerError("has an INTEGER with a superfluous byte");
}

/** A non-negative INTEGER's magnitude, without a leading zero byte (zero itself is one zero byte). */
export function readUnsigned({ content }: DerElement, what: string): Uint8Array {
  checkInteger(content);
  if ((content[0] ?? 0) >= 0x80) throw new DerError(`has a negative ${what}`);
  return content[0] === 0 && content.length > 1 ? content.subarray(1) : content;
}

/** A non-negative INTEGER below 2^31. */
export function readSmall(element: DerElement, what: string): number {
  const bytes = readUnsigned(element, what);
  if (bytes.length > 4 || (bytes.length === 4 && (bytes[0] ?? 0) >= 0x80)) throw new DerError(`has a huge ${what}`);
  return bytes.reduce((value, byte) => value * 256 + byte, 0);
}

export interface BitString {
  readonly bytes: Uint8Array;
  readonly unused: number;
}

export function readBitString({ content }: DerElement): BitString {
  const unused = content[0];
  if (unused === undefined || unused > 7) throw new DerError("has a malformed BIT STRING");
  const last = content[content.length - 1] ?? 0;
  if (unused > 0 && (content.length === 1 || (last & ((1 << unused) - 1)) !== 0))
    throw new DerError("has a BIT STRING with unused bits set");
  return { bytes: content.subarray(1), unused };
}

/** Dotted text. Arcs beyond 2^53 are refused; none is in use. */
export function readOid({ content }: DerElement): string {
  if (content.length === 0 || (content[content.length - 1] ?? 0) >= 0x80)
    throw new DerError("has a malformed OBJECT IDENTIFIER");
  const arcs: number[] = [];
  let arc = 0;
  let isFirst = true;
  for (const byte of content) {
    if (isFirst && byte === 0x80) throw new DerError("has an OBJECT IDENTIFIER with a padded arc");
    arc = arc * 128 + (byte & 0x7f);
    if (arc > Number.MAX_SAFE_INTEGER) throw new DerError("has an OBJECT IDENTIFIER with a huge arc");
    isFirst = byte < 0x80;
    if (isFirst) {
      arcs.push(arc);
      arc = 0;
    }
  }
  const [head = 0, ...rest] = arcs;
  const top = head < 40 ? 0 : head < 80 ? 1 : 2;
  return [top, head - top * 40, ...rest].join(".");
}

/** UTCTime or GeneralizedTime in the only forms of RFC 5280 section 4.1.2.5: to the second, in Z. Milliseconds. */
export function readTime({ tag, content }: DerElement): number {
  const text = Buffer.from(content).toString("latin1");
  const isUtc = tag === tags.utcTime;
  if (!isUtc && tag !== tags.generalizedTime) throw new DerError("has no time where one belongs");
  if (!(isUtc ? /^\d{12}Z$/ : /^\d{14}Z$/).test(text)) throw new DerError("has a time that is not YYMMDDhhmmssZ");
  const full = isUtc ? `${Number(text.slice(0, 2)) < 50 ? "20" : "19"}${text}` : text;
  const [year, month, day, hour, minute, second] = [
    full.slice(0, 4),
    ...[4, 6, 8, 10, 12].map((at) => full.slice(at, at + 2)),
  ];
  const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}`;
  const ms = Date.parse(`${iso}Z`);
  // Date.parse refuses month 13 but some readers roll 31 February over: it must come back as it was.
  if (Number.isNaN(ms) || new Date(ms).toISOString().slice(0, 19) !== iso)
    throw new DerError("has a time that does not exist");
  return ms;
}
