import { HTAB, SP, TOKEN_LOWER, VALUE_BYTE } from "../http1/byte-classes.ts";
import { NameFinder } from "../http1/known-names.ts";
import { DynamicTable } from "./hpack-dynamic-table.ts";
import { HeaderField, ROLE_NONE, ROLE_UNKNOWN_PSEUDO, roleOf } from "./hpack-field.ts";
import { FIRST_DYNAMIC, STATIC_TABLE } from "./hpack-static-table.ts";
import { decodeHuffman } from "./huffman.ts";

export interface HpackLimits {
  /** The most that the dynamic table may hold, before the peer has acknowledged our settings. Default 4096. */
  readonly tableBytes: number;
  /** And after it: what our SETTINGS_HEADER_TABLE_SIZE announces. Absent: the same. */
  readonly announcedTableBytes?: number;
  /** Names and values of a block with 32 bytes for each field, as SETTINGS_MAX_HEADER_LIST_SIZE counts. Default 61 440. */
  readonly listBytes: number;
  /** Fields of a block. Default 100. */
  readonly fields: number;
}

const TRUNCATED = "a header block ends inside a field";
const INTEGER = "a number in a header block is too large";
const INDEX = "a header block refers to no entry of the tables";
const HUFFMAN = "a string in a header block is no valid Huffman code";
const LATE_RESIZE = "a header block changes the table size behind a field";
const NO_RESIZE = "a header block does not reduce the table to the size that was announced";
const LARGE_RESIZE = "a header block asks for a table larger than was announced";

const NOTHING = Buffer.alloc(0);
const BROKEN = -1;
/** What Huffman codes are undone into. One for all decoders, since none is left in the middle. */
let scratch: Buffer = Buffer.allocUnsafeSlow(4096);
/** A number may have this many bytes behind its prefix; none that is of use has more than four. */
const INTEGER_BYTES = 4;

/** Decodes the header blocks of one direction of a connection (RFC 7541), in order: each changes the table that the next one needs. */
export class HpackDecoder {
  /** The fields of the last block: fields[0 … count). Valid until the next `decode`. */
  readonly fields: HeaderField[] = [];
  count = 0;
  /** The block passed a limit: what followed was decoded for the table's sake alone. */
  tooLarge = false;
  readonly #limits: HpackLimits;
  readonly #table: DynamicTable;
  readonly #names = new NameFinder();
  #maxTable: number;
  /** The next block must begin with a smaller size of the table. */
  #mustResize = false;
  #listBytes = 0;
  #reason = "";
  /** Behind the number or string that was read last. */
  #next = 0;
  /** Where the string that was read last lies. */
  #source: Buffer = NOTHING;
  #from = 0;
  #to = 0;
  /** The whole block as text, or "" as long as nobody asked. */
  #text = "";
  #start = 0;
  #end = 0;
  #name = "";
  #role = ROLE_NONE;
  #nameValid = false;

  constructor(limits: HpackLimits) {
    this.#limits = limits;
    const { tableBytes, announcedTableBytes = tableBytes } = limits;
    this.#maxTable = tableBytes;
    this.#table = new DynamicTable(tableBytes, Math.max(tableBytes, announcedTableBytes));
  }

  /** The peer has acknowledged the table's announced size. To a smaller one it goes itself, with its next block (RFC 9113 section 4.3.1). */
  settingsAcknowledged(): void {
    this.#maxTable = this.#limits.announcedTableBytes ?? this.#maxTable;
    this.#mustResize = this.#table.maxBytes > this.#maxTable;
  }

  /** Decodes one whole header block, bytes[start … end). Returns undefined, or a short reason why the connection must end with
   *  COMPRESSION_ERROR: nothing that follows on it could be decoded. */
  decode(bytes: Uint8Array, start: number, end: number): string | undefined {
    const block = bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.count = 0;
    this.tooLarge = false;
    this.#listBytes = 0;
    this.#start = start;
    this.#end = end;
    const reason = this.#read(block, start, end);
    // an idle connection must not keep the bytes that its last block came in
    this.#source = NOTHING;
    this.#text = "";
    return reason;
  }

  #read(block: Buffer, start: number, end: number): string | undefined {
    let at = start;
    if (this.#mustResize) {
      if (at >= end || ((block[at] as number) & 0xe0) !== 0x20) return NO_RESIZE;
      this.#mustResize = false;
    }
    let fieldSeen = false;
    while (at < end) {
      const first = block[at++] as number;
      if (first >= 0x80) {
        let index = first & 0x7f;
        if (index === 0x7f) {
          index = this.#integer(block, at, end, index);
          if (index === BROKEN) return this.#reason;
          at = this.#next;
        }
        const field = index < FIRST_DYNAMIC ? STATIC_TABLE[index] : this.#table.get(index - FIRST_DYNAMIC);
        if (field === undefined) return INDEX;
        this.#keep(field);
        fieldSeen = true;
      } else if (first >= 0x40 || first < 0x20) {
        if (!this.#literal(block, at, end, first)) return this.#reason;
        at = this.#next;
        fieldSeen = true;
      } else {
        if (fieldSeen) return LATE_RESIZE;
        let size = first & 0x1f;
        if (size === 0x1f) {
          size = this.#integer(block, at, end, size);
          if (size === BROKEN) return this.#reason;
          at = this.#next;
        }
        if (size > this.#maxTable) return LARGE_RESIZE;
        this.#table.resize(size);
      }
    }
    return undefined;
  }

  #keep(field: HeaderField): void {
    if (this.tooLarge) return;
    const listBytes = this.#listBytes + field.size;
    if (listBytes > this.#limits.listBytes || this.count === this.#limits.fields) {
      this.tooLarge = true;
      return;
    }
    this.#listBytes = listBytes;
    this.fields[this.count++] = field;
  }

  #break(reason: string): number {
    this.#reason = reason;
    return BROKEN;
  }

  /** The number whose prefix, all ones, has the value `prefix` and ended before `at` (section 5.1). */
  #integer(block: Buffer, at: number, end: number, prefix: number): number {
    let value = prefix;
    for (let count = 0; count < INTEGER_BYTES; count++) {
      if (at + count >= end) return this.#break(TRUNCATED);
      const byte = block[at + count] as number;
      value += (byte & 0x7f) << (7 * count);
      if (byte < 0x80) {
        this.#next = at + count + 1;
        return value;
      }
    }
    return this.#break(INTEGER);
  }

  /** Reads the field that a literal's first byte began. Returns false if the block is broken. */
  #literal(block: Buffer, from: number, end: number, first: number): boolean {
    const indexing = first >= 0x40;
    const mask = indexing ? 0x3f : 0x0f;
    let at = from;
    let index = first & mask;
    if (index === mask) {
      index = this.#integer(block, at, end, index);
      if (index === BROKEN) return false;
      at = this.#next;
    }
    if (index !== 0) {
      const named = index < FIRST_DYNAMIC ? STATIC_TABLE[index] : this.#table.get(index - FIRST_DYNAMIC);
      if (named === undefined) {
        this.#reason = INDEX;
        return false;
      }
      this.#name = named.name;
      this.#role = named.role;
      this.#nameValid = named.nameValid;
    } else {
      if (!this.#string(block, at, end)) return false;
      this.#readName();
      at = this.#next;
    }
    if (!this.#string(block, at, end)) return false;
    if (this.tooLarge && !indexing) return true;
    const source = this.#source;
    const start = this.#from;
    const stop = this.#to;
    const value =
      indexing || source !== block ? source.toString("latin1", start, stop) : this.#slice(block, start, stop);
    const field = new HeaderField(this.#name, value, this.#role, this.#nameValid, isValue(source, start, stop));
    if (indexing) this.#table.add(field);
    this.#keep(field);
    return true;
  }

  /** Text of the block that need not outlive its message: a slice of one text is made faster than a text of its own. An entry of the table
   *  must not be one, since it would keep the whole block. */
  #slice(block: Buffer, from: number, to: number): string {
    if (this.#text === "") this.#text = block.toString("latin1", this.#start, this.#end);
    return this.#text.slice(from - this.#start, to - this.#start);
  }

  /** Finds the string literal at `at` (section 5.2). */
  #string(block: Buffer, at: number, end: number): boolean {
    if (at >= end) {
      this.#reason = TRUNCATED;
      return false;
    }
    const first = block[at] as number;
    let from = at + 1;
    let length = first & 0x7f;
    if (length === 0x7f) {
      length = this.#integer(block, from, end, length);
      if (length === BROKEN) return false;
      from = this.#next;
    }
    if (length > end - from) {
      this.#reason = TRUNCATED;
      return false;
    }
    this.#next = from + length;
    if (first < 0x80) {
      this.#source = block;
      this.#from = from;
      this.#to = from + length;
      return true;
    }
    const room = Math.ceil((8 * length) / 5);
    if (room > scratch.length) scratch = Buffer.allocUnsafeSlow(2 * room);
    const plain = decodeHuffman(block, from, from + length, scratch);
    if (plain < 0) {
      this.#reason = HUFFMAN;
      return false;
    }
    this.#source = scratch;
    this.#from = 0;
    this.#to = plain;
    return true;
  }

  /** Makes the string that was read last the name of a field. */
  #readName(): void {
    const source = this.#source;
    const from = this.#from;
    const to = this.#to;
    if (to > from) {
      const names = this.#names;
      names.find(source, from, to);
      const { known } = names;
      if (known !== undefined && names.spelling === known.lower) {
        this.#name = known.lower;
        this.#role = roleOf(known.lower);
        this.#nameValid = true;
        return;
      }
    }
    const name = source.toString("latin1", from, to);
    this.#name = name;
    this.#role = roleOf(name);
    const isPseudo = this.#role !== ROLE_NONE && this.#role <= ROLE_UNKNOWN_PSEUDO;
    this.#nameValid = isLowerToken(source, isPseudo ? from + 1 : from, to);
  }
}

function isLowerToken(bytes: Buffer, from: number, to: number): boolean {
  if (from === to) return false;
  for (let at = from; at < to; at++) {
    const byte = bytes[at] as number;
    if (TOKEN_LOWER[byte] !== byte || byte === 0) return false;
  }
  return true;
}

function isValue(bytes: Buffer, from: number, to: number): boolean {
  if (from === to) return true;
  const first = bytes[from];
  const last = bytes[to - 1];
  if (first === SP || first === HTAB || last === SP || last === HTAB) return false;
  for (let at = from; at < to; at++) if (VALUE_BYTE[bytes[at] as number] === 0) return false;
  return true;
}
