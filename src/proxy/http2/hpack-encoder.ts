import { TOKEN_LOWER, VALUE_BYTE } from "../http1/byte-classes.ts";
import type { Fields } from "../http1/http1-events.ts";
import type { OutputBuffer } from "../http1/output-buffer.ts";
import { EncoderTable, quickHash } from "./hpack-encoder-table.ts";
import { FIELD_OVERHEAD } from "./hpack-field.ts";
import { ENCODED_NAMES, type EncodedName, INDEX_IF_ROOM, INDEX_NEVER, INDEX_NO } from "./hpack-names.ts";
import { RunCache } from "./hpack-run-cache.ts";

/** Ours never grows beyond the size that both sides begin with. */
const TABLE_BYTES = 4096;
/** An entry may take this part of the table: one that is larger would drive out too many others. */
const ENTRY_SHARE = 4;
/** So many fields must be found in the table between two that drive out others. A set of values that is larger than the table then costs
 *  little, and one that slowly changes is still followed. */
const FOUND_PER_EVICTION = 32;
/** The same for an entry that should rather not drive out others. */
const FOUND_PER_RARE_EVICTION = 256;
/** After so many paths in a row that are not in the table, only one in PATHS_SAMPLED is remembered: most apps' paths hold an id. */
const PATHS_WATCHED = 64;
const PATHS_SAMPLED = 8;

// First bytes of the representations (RFC 7541 section 6), and the most that their first byte holds of an index.
const INDEXED = 0x80;
const INDEXED_MAX = 0x7f;
const INCREMENTAL = 0x40;
const INCREMENTAL_MAX = 0x3f;
const NEVER_INDEXED = 0x10;
const WITHOUT_INDEXING = 0x00;
const LITERAL_MAX = 0x0f;
const RESIZE = 0x20;
const RESIZE_MAX = 0x1f;
/** A text up to this length is written faster byte by byte than by a call out of JavaScript. */
const SHORT = 24;
/** Bytes of a field beside its name and value, at most. */
const FIELD_ROOM = 16;

const STATUS_NAME = ":status";
const STATUSES: readonly string[] = Array.from({ length: 1000 }, (_, status) => String(status).padStart(3, "0"));
/** By status: its index in the static table, or 0. */
const STATUS_INDEX = new Uint8Array(1000);
[200, 204, 206, 304, 400, 404, 500].forEach((status, at) => {
  STATUS_INDEX[status] = 8 + at;
});

/** Encodes the header blocks of one direction of a connection (RFC 7541), in order. Values that come again are put into the table; those
 *  known to change with each message never are, so that in a steady flow the table stays as it is. Strings are written plain: Huffman
 *  codes would save bytes and cost time. */
export class HpackEncoder {
  readonly #table = new EncoderTable(TABLE_BYTES);
  readonly #runs = new RunCache();
  /** By a known name's id: number of the table entry that has its name. */
  #named: Float64Array | undefined = undefined;
  /** Fields found in the table since one was driven out. */
  #found = 0;
  /** Paths since one was found in the table. */
  #paths = 0;
  /** What the next block must tell the peer, or -1: the smallest size that the table had, then its size now. */
  #smallest = -1;
  #resized = -1;
  /** A literal was written that will be indexed when it comes again. */
  #unsettled = false;

  /** Takes the peer's SETTINGS_HEADER_TABLE_SIZE; of more than 4096 bytes no use is made. */
  setMaxTableBytes(bytes: number): void {
    const size = Math.min(bytes, TABLE_BYTES);
    if (size === this.#table.maxBytes) return;
    this.#resize(size);
  }

  /** Starts a block. */
  begin(out: OutputBuffer): void {
    if (this.#smallest === -1) return;
    const bytes = out.room(2 * FIELD_ROOM);
    let at = out.length;
    if (this.#smallest < this.#resized) at = writeInteger(bytes, at, RESIZE, RESIZE_MAX, this.#smallest);
    at = writeInteger(bytes, at, RESIZE, RESIZE_MAX, this.#resized);
    out.advance(at - out.length);
    this.#smallest = -1;
  }

  /** Encodes `:status`, a number of three digits. */
  status(out: OutputBuffer, status: number): void {
    const index = STATUS_INDEX[status] as number;
    if (index > 0) out.byte(INDEXED | index);
    else this.field(out, STATUS_NAME, STATUSES[status] as string);
  }

  /** Encodes one field; `name` is in lower case or a pseudo-header's, `value` has one byte a character. Throws TypeError, if it is written out
   *  and isn't so, or holds a control character but HTAB. The block is then lost: it must not be sent, and the next one puts the peer's
   *  table right. */
  field(out: OutputBuffer, name: string, value: string): void {
    const known = ENCODED_NAMES.get(name);
    if (known === undefined) {
      this.#indexable(out, undefined, name, value, false);
      return;
    }
    const { values, policy } = known;
    for (let at = 0; at < values.length; at++) {
      if (values[at] === value) {
        out.byte(INDEXED | (known.index + at));
        return;
      }
    }
    if (policy === INDEX_NEVER) this.#literal(out, NEVER_INDEXED, known.index, known, name, value);
    else if (policy === INDEX_NO) this.#changing(out, known, value);
    else this.#indexable(out, known, name, value, policy === INDEX_IF_ROOM);
  }

  /** Encodes the fields [from, to), a run that may come again as a whole: `key` is one text that stands for all of them, such as their
   *  HTTP/1.1 lines. Bytes of a known run are copied as long as the table stays as it was. Throws as `field` does. */
  run(out: OutputBuffer, key: string, fields: Fields, from: number, to: number): void {
    const runs = this.#runs;
    const table = this.#table;
    const cached = runs.find(key, table.version);
    if (cached !== undefined) {
      this.#found += to - from;
      out.bytes(cached);
      return;
    }
    const start = out.length;
    const { version } = table;
    this.#unsettled = false;
    const { raw, lower } = fields;
    for (let field = from; field < to; field++) {
      this.field(out, lower[field] as string, raw[2 * field + 1] as string);
    }
    if (!this.#unsettled && version === table.version) runs.keep(key, version, out, start);
  }

  /** A field whose value is worth an entry if it comes again. */
  #indexable(out: OutputBuffer, known: EncodedName | undefined, name: string, value: string, ifRoom: boolean): void {
    const table = this.#table;
    const hash = quickHash(name, value);
    const index = table.find(hash, name, value);
    if (index !== 0) {
      this.#found++;
      if (ifRoom) this.#paths = 0;
      if (index < INDEXED_MAX) out.byte(INDEXED | index);
      else this.#indexedFar(out, index);
      return;
    }
    const nameIndex = known === undefined ? 0 : this.#nameIndex(known);
    const size = name.length + value.length + FIELD_OVERHEAD;
    if (size > table.maxBytes / ENTRY_SHARE || (ifRoom && !this.#mayRepeat())) {
      this.#literal(out, WITHOUT_INDEXING, nameIndex, known, name, value);
      return;
    }
    const room = ifRoom ? table.room - table.maxBytes / 2 : table.room;
    const fits = size <= room;
    const mayAdd = fits || this.#found >= (ifRoom ? FOUND_PER_RARE_EVICTION : FOUND_PER_EVICTION);
    if (!table.seenBefore(name, value) || !mayAdd) {
      this.#unsettled = true;
      this.#literal(out, WITHOUT_INDEXING, nameIndex, known, name, value);
      return;
    }
    if (!fits) this.#found = 0;
    this.#literal(out, INCREMENTAL, nameIndex, known, name, value);
    this.#add(hash, known, name, value);
  }

  /** Whether it is worth to look if this path, which has no entry, came before. */
  #mayRepeat(): boolean {
    const paths = ++this.#paths;
    return paths < PATHS_WATCHED || paths % PATHS_SAMPLED === 0;
  }

  /** A field whose value changes with each message. Its name is put into the table once, with the first value that comes. */
  #changing(out: OutputBuffer, known: EncodedName, value: string): void {
    const index = this.#nameIndex(known);
    const { name } = known;
    const size = name.length + value.length + FIELD_OVERHEAD;
    const table = this.#table;
    if (index === 0 && size <= table.room && size <= table.maxBytes / ENTRY_SHARE) {
      this.#literal(out, INCREMENTAL, 0, known, name, value);
      this.#add(quickHash(name, value), known, name, value);
    } else this.#literal(out, WITHOUT_INDEXING, index, known, name, value);
  }

  #nameIndex(known: EncodedName): number {
    if (known.index !== 0) return known.index;
    const named = this.#named;
    return named === undefined ? 0 : this.#table.indexOf(named[known.id] as number);
  }

  #add(hash: number, known: EncodedName | undefined, name: string, value: string): void {
    const table = this.#table;
    table.add(hash, name, value);
    if (known === undefined || known.index !== 0) return;
    this.#named ??= new Float64Array(ENCODED_NAMES.size).fill(Number.NEGATIVE_INFINITY);
    this.#named[known.id] = table.added;
  }

  #indexedFar(out: OutputBuffer, index: number): void {
    const bytes = out.room(FIELD_ROOM);
    out.advance(writeInteger(bytes, out.length, INDEXED, INDEXED_MAX, index) - out.length);
  }

  #literal(
    out: OutputBuffer,
    kind: number,
    nameIndex: number,
    known: EncodedName | undefined,
    name: string,
    value: string,
  ): void {
    const bytes = out.room(name.length + value.length + FIELD_ROOM);
    const start = out.length;
    let at = start;
    if (nameIndex !== 0) {
      at = writeInteger(bytes, at, kind, kind === INCREMENTAL ? INCREMENTAL_MAX : LITERAL_MAX, nameIndex);
    } else {
      bytes[at++] = kind;
      at = writeInteger(bytes, at, 0, 0x7f, name.length);
      at = known === undefined ? writeName(bytes, at, name) : writeBytes(bytes, at, known.bytes);
    }
    if (at !== -1) {
      at = writeInteger(bytes, at, 0, 0x7f, value.length);
      at = writeValue(bytes, at, value);
    }
    if (at === -1) this.#fail();
    out.advance(at - start);
  }

  /** What this block added to our table will never reach the peer's: both are emptied. */
  #fail(): never {
    const { maxBytes } = this.#table;
    this.#resize(0);
    this.#resize(maxBytes);
    throw new TypeError("a field name is no token in lower case, or a value holds a control character");
  }

  #resize(size: number): void {
    this.#table.resize(size);
    this.#smallest = this.#smallest === -1 ? size : Math.min(this.#smallest, size);
    this.#resized = size;
  }
}

/** Section 5.1: `bits` in the first byte above a prefix that holds up to `max`. Returns the offset behind. */
function writeInteger(bytes: Uint8Array, from: number, bits: number, max: number, value: number): number {
  let at = from;
  if (value < max) {
    bytes[at++] = bits | value;
    return at;
  }
  bytes[at++] = bits | max;
  let rest = value - max;
  while (rest >= 0x80) {
    bytes[at++] = 0x80 | (rest & 0x7f);
    rest >>>= 7;
  }
  bytes[at++] = rest;
  return at;
}

function writeBytes(bytes: Uint8Array, at: number, name: Uint8Array): number {
  for (let index = 0; index < name.length; index++) bytes[at + index] = name[index] as number;
  return at + name.length;
}

function writeName(bytes: Uint8Array, at: number, name: string): number {
  if (name === "") return -1;
  for (let index = 0; index < name.length; index++) {
    const code = name.charCodeAt(index);
    if (TOKEN_LOWER[code] !== code) return -1;
    bytes[at + index] = code;
  }
  return at + name.length;
}

function writeValue(bytes: Buffer, at: number, value: string): number {
  const end = at + value.length;
  if (value.length > SHORT) {
    bytes.write(value, at, value.length, "latin1");
    for (let index = at; index < end; index++) if (VALUE_BYTE[bytes[index] as number] !== 1) return -1;
    return end;
  }
  for (let index = 0; index < value.length; index++) {
    const code = value.charCodeAt(index);
    if (VALUE_BYTE[code] !== 1) return -1;
    bytes[at + index] = code;
  }
  return end;
}
