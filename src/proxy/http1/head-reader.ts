import { COLON, CR, HTAB, LF, SP, TOKEN_LOWER, VALUE_BYTE } from "./byte-classes.ts";
import { ReceivedFields } from "./head-lines.ts";
import type { Http1Limits } from "./http1-events.ts";
import type { Fault } from "./http1-fault.ts";
import { type KnownName, NameFinder, ROLE_REFUSED } from "./known-names.ts";

const HEAD_TOO_LARGE: Fault = { code: "E_HTTP_HEAD_TOO_LARGE", detail: "the head is larger than the limit" };
const TOO_MANY_FIELDS: Fault = {
  code: "E_HTTP_TOO_MANY_FIELDS",
  detail: "there are more header fields than the limit",
};
const LINE_TOO_LONG: Fault = {
  code: "E_HTTP_REQUEST_LINE_TOO_LONG",
  detail: "the request line is longer than the limit",
};
const LINE_END: Fault = { code: "E_HTTP_LINE_END", detail: "a line holds a bare CR or LF" };
const FOLDED: Fault = { code: "E_HTTP_LINE_FOLD", detail: "a header line starts with white space" };
const NAME: Fault = { code: "E_HTTP_FIELD_NAME", detail: "a header name is not a token directly followed by a colon" };
const NAME_IMITATION: Fault = {
  code: "E_HTTP_FIELD_NAME",
  detail: "a header name imitates a framing field with underscores",
};
const VALUE: Fault = { code: "E_HTTP_FIELD_VALUE", detail: "a header value holds a control character" };

/** Reads a start line. */
export interface StartLineReader {
  /** Parses bytes[start … end), the line without its end, of a head that begins at `start`. */
  read(bytes: Uint8Array, start: number, end: number): Fault | undefined;
  /** Longest line, in bytes. */
  readonly limit: number;
}

const NOTHING = Buffer.alloc(0);

/** The head needs more bytes than the chunk had; they were kept. */
export const NEED_MORE = -1;
/** The head is broken: see `fault`. */
export const BROKEN = -2;

/** Finds and checks the lines of one head or trailer section, whatever pieces it comes in. A line is judged when its LF is there
 *  or a limit is passed, never earlier, so the outcome doesn't depend on how the bytes were cut.
 *  A head that lies wholly in one chunk is read in place; else its bytes are kept here, at most limits.headBytes and a few. */
export class HeadReader {
  /** Why `read` returned BROKEN. */
  fault: Fault | undefined = undefined;
  /** The head's characters, once complete. */
  text = "";
  /** Number of fields. */
  count = 0;
  /** By field: its known name, or undefined. */
  readonly known: (KnownName | undefined)[] = [];
  /** By field: the name as received where it needs no slice of `text`, else "". */
  readonly #spelling: string[] = [];
  /** Four numbers a field, counted from the head's first byte: start and end of name and of value. */
  readonly #marks: Int32Array;
  readonly #names = new NameFinder();
  readonly #startLine: StartLineReader | undefined;
  readonly #headBytes: number;
  readonly #headFields: number;
  readonly #lineLimit: number;
  #held: Buffer = NOTHING;
  #heldLength = 0;
  /** Where the line that is being read begins, counted from the head's first byte. */
  #line = 0;
  #inStartLine: boolean;
  /** Every field line so far is `name: value` with one space and none behind. */
  #canonical = true;

  constructor(limits: Http1Limits, startLine: StartLineReader | undefined) {
    this.#headBytes = limits.headBytes;
    this.#headFields = limits.headFields;
    this.#startLine = startLine;
    this.#lineLimit = startLine === undefined ? 0 : startLine.limit;
    this.#inStartLine = startLine !== undefined;
    this.#marks = new Int32Array(4 * limits.headFields);
  }

  /** Whether bytes of an incomplete head are kept. */
  get isHolding(): boolean {
    return this.#heldLength > 0;
  }

  /** Reads on. Returns the offset in `chunk` behind the head's empty line, NEED_MORE (all of the chunk was taken) or BROKEN. */
  read(chunk: Buffer, from: number): number {
    const held = this.#heldLength;
    if (held === 0) {
      const after = this.#scan(chunk, from, chunk.length);
      if (after === NEED_MORE) this.#hold(chunk, from);
      return after;
    }
    this.#hold(chunk, from);
    // Only new bytes can hold the LF that ends the current line: without it there is nothing to judge but the limits.
    if (this.#held.subarray(held, this.#heldLength).includes(LF)) {
      const after = this.#scan(this.#held, 0, this.#heldLength);
      return after < 0 ? after : from + after - held;
    }
    return this.#incomplete(this.#heldLength);
  }

  /** The fields of the complete head, for its receiver to keep. */
  takeFields(): ReceivedFields {
    const { text, known } = this;
    const raw: string[] = [];
    const lower: string[] = [];
    const marks = this.#marks;
    for (let field = 0, mark = 0; field < this.count; field++, mark += 4) {
      const name = known[field];
      let spelled = this.#spelling[field] as string;
      if (spelled === "") spelled = text.slice(marks[mark], marks[mark + 1]);
      raw[2 * field] = spelled;
      raw[2 * field + 1] = text.slice(marks[mark + 2], marks[mark + 3]);
      lower[field] = name === undefined ? spelled.toLowerCase() : name.lower;
    }
    return new ReceivedFields(raw, lower, this.#canonical ? text : undefined, marks[0] as number);
  }

  /** Makes ready for the next head. */
  reset(): void {
    this.text = "";
    this.count = 0;
    this.#canonical = true;
    this.#line = 0;
    this.#inStartLine = this.#startLine !== undefined;
    if (this.#heldLength > 0) {
      this.#held = NOTHING;
      this.#heldLength = 0;
    }
  }

  #hold(chunk: Buffer, from: number): void {
    // Two bytes past the limit decide between a line that just fits and one that is too long.
    const more = Math.min(chunk.length - from, this.#headBytes + 2 - this.#heldLength);
    const needed = this.#heldLength + more;
    if (needed > this.#held.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(1024, 2 * needed));
      this.#held.copy(grown, 0, 0, this.#heldLength);
      this.#held = grown;
    }
    chunk.copy(this.#held, this.#heldLength, from, from + more);
    this.#heldLength = needed;
  }

  #break(fault: Fault): number {
    this.fault = fault;
    return BROKEN;
  }

  /** Judges a head of which `length` bytes are there, without the end of its current line. */
  #incomplete(length: number): number {
    if (this.#inStartLine) {
      // A CR may already be the last byte, hence the one more.
      return length > this.#lineLimit + 1 ? this.#break(LINE_TOO_LONG) : NEED_MORE;
    }
    return length > this.#headBytes ? this.#break(HEAD_TOO_LARGE) : NEED_MORE;
  }

  #scan(bytes: Buffer, base: number, end: number): number {
    if (this.#inStartLine) {
      const verdict = this.#scanStartLine(bytes, base, end);
      if (verdict !== 0) return verdict;
    }
    return this.#scanFields(bytes, base, end);
  }

  #scanStartLine(bytes: Buffer, base: number, end: number): number {
    const lf = bytes.indexOf(LF, base);
    if (lf === -1 || lf >= end) return this.#incomplete(end - base);
    const hasCr = lf > base && bytes[lf - 1] === CR;
    const lineEnd = hasCr ? lf - 1 : lf;
    if (lineEnd - base > this.#lineLimit) return this.#break(LINE_TOO_LONG);
    if (lf + 1 - base > this.#headBytes) return this.#break(HEAD_TOO_LARGE);
    if (!hasCr) return this.#break(LINE_END);
    const fault = (this.#startLine as StartLineReader).read(bytes, base, lineEnd);
    if (fault !== undefined) return this.#break(bytes.subarray(base, lineEnd).includes(CR) ? LINE_END : fault);
    this.#inStartLine = false;
    this.#line = lf + 1 - base;
    return 0;
  }

  #scanFields(bytes: Buffer, base: number, end: number): number {
    const limit = base + this.#headBytes;
    const marks = this.#marks;
    const names = this.#names;
    let line = base + this.#line;
    for (;;) {
      let at = line;
      while (at < end && TOKEN_LOWER[bytes[at] as number] !== 0) at++;
      const nameEnd = at;
      if (at === line) {
        if (at + 1 < end && bytes[at] === CR && bytes[at + 1] === LF) {
          if (at + 2 > limit) return this.#break(HEAD_TOO_LARGE);
          this.text = bytes.toString("latin1", base, line);
          return at + 2;
        }
        return this.#scanOddLine(bytes, base, line, end);
      }
      if (at >= end || bytes[at] !== COLON) return this.#scanOddLine(bytes, base, line, end);
      at++;
      while (at < end && (bytes[at] === SP || bytes[at] === HTAB)) at++;
      const valueStart = at;
      while (at < end && VALUE_BYTE[bytes[at] as number] === 1) at++;
      if (at + 1 >= end || bytes[at] !== CR || bytes[at + 1] !== LF) return this.#scanOddLine(bytes, base, line, end);
      if (at + 2 > limit) return this.#break(HEAD_TOO_LARGE);
      let valueEnd = at;
      while (valueEnd > valueStart && (bytes[valueEnd - 1] === SP || bytes[valueEnd - 1] === HTAB)) valueEnd--;
      if (valueStart !== nameEnd + 2 || bytes[nameEnd + 1] !== SP || valueEnd !== at) this.#canonical = false;
      names.find(bytes, line, nameEnd);
      const { known } = names;
      if (known !== undefined && known.role === ROLE_REFUSED) return this.#break(NAME_IMITATION);
      const { count } = this;
      if (count === this.#headFields) return this.#break(TOO_MANY_FIELDS);
      const mark = 4 * count;
      marks[mark] = line - base;
      marks[mark + 1] = nameEnd - base;
      marks[mark + 2] = valueStart - base;
      marks[mark + 3] = valueEnd - base;
      this.known[count] = known;
      this.#spelling[count] = names.spelling;
      this.count = count + 1;
      line = at + 2;
      this.#line = line - base;
    }
  }

  /** A line that is no field and not empty: incomplete, or broken in a way that this finds out. */
  #scanOddLine(bytes: Buffer, base: number, line: number, end: number): number {
    const lf = bytes.indexOf(LF, line);
    if (lf === -1 || lf >= end) return this.#incomplete(end - base);
    if (lf + 1 - base > this.#headBytes) return this.#break(HEAD_TOO_LARGE);
    return this.#break(oddLineFault(bytes, line, lf));
  }
}

function oddLineFault(bytes: Buffer, line: number, lf: number): Fault {
  if (lf === line || bytes[lf - 1] !== CR || bytes.subarray(line, lf - 1).includes(CR)) return LINE_END;
  const first = bytes[line];
  if (first === SP || first === HTAB) return FOLDED;
  let at = line;
  while (TOKEN_LOWER[bytes[at] as number] !== 0) at++;
  return at === line || bytes[at] !== COLON ? NAME : VALUE;
}
