import { VALUE_BYTE } from "./byte-classes.ts";
import type { Fields } from "./http1-events.ts";

/** The fields of a decoded head, with the text they came in where every line of it stands as a writer would write it:
 *  `name: value` CR LF. The lines that a message passes on are then copied in spans instead of being put together anew. */
export class ReceivedFields implements Fields {
  readonly raw: string[];
  readonly lower: string[];
  readonly #text: string | undefined;
  readonly #start: number;

  /** `text` from `start` on holds exactly the lines of `raw`, or is undefined. */
  constructor(raw: string[], lower: string[], text: string | undefined, start: number) {
    this.raw = raw;
    this.lower = lower;
    this.#text = text;
    this.#start = start;
  }

  get text(): string | undefined {
    return this.#text;
  }

  /** Where the first line begins in `text`. */
  get start(): number {
    return this.#start;
  }
}

/** Lines of ours that many messages carry, put together and checked once. */
export class SharedLines {
  readonly text: string;
  readonly count: number;

  /** `raw` is name, value, name, value … Throws TypeError if a byte that would leave is a control character other than HTAB. */
  constructor(raw: readonly string[]) {
    let text = "";
    for (let at = 0; at < raw.length; at += 2) {
      const line = `${raw[at]}: ${raw[at + 1]}`;
      if (!Buffer.from(line, "latin1").every((byte) => VALUE_BYTE[byte] === 1)) {
        throw new TypeError("a name or value to be written holds a line end or another control character");
      }
      text += `${line}\r\n`;
    }
    // one flat string instead of a tree of pieces, which every message would walk
    this.text = Buffer.from(text, "latin1").toString("latin1");
    this.count = raw.length / 2;
  }
}

/** The field lines of a message to write: those that it passes on of a received head, then our own. The fields of that head are
 *  told one by one and in order, each to be kept, replaced or dropped. */
export class HeadLines {
  readonly #raw: readonly string[];
  readonly #source: string | undefined;
  /** Where the next field's line begins in the source. */
  #at: number;
  /** Where the span of kept lines begins that is not in `#text` yet. */
  #spanStart: number;
  #spanLines = 0;
  #text = "";
  #checked = 0;
  #made = 0;

  constructor(fields: Fields) {
    this.#raw = fields.raw;
    const received = fields instanceof ReceivedFields ? fields : undefined;
    this.#source = received?.text;
    this.#at = received === undefined ? 0 : received.start;
    this.#spanStart = this.#at;
  }

  /** The lines, each ended by CR LF. Complete once the last field was told. */
  get text(): string {
    this.#endSpan();
    return this.#text;
  }

  /** Length of the beginning of `text` that needs no check any more: copied from a head, whose decoder looked at every byte, or shared. */
  get checked(): number {
    this.#endSpan();
    return this.#checked;
  }

  /** Number of lines behind that. */
  get made(): number {
    this.#endSpan();
    return this.#made;
  }

  /** The next field, which is number `field` of the head, is passed on as it came. */
  keep(field: number): void {
    const name = this.#raw[2 * field] as string;
    const value = this.#raw[2 * field + 1] as string;
    if (this.#source === undefined) {
      this.add(name, value);
      return;
    }
    this.#at += name.length + value.length + 4;
    this.#spanLines++;
  }

  /** The next field is not passed on. */
  drop(field: number): void {
    if (this.#source === undefined) return;
    this.#endSpan();
    this.#at += (this.#raw[2 * field] as string).length + (this.#raw[2 * field + 1] as string).length + 4;
    this.#spanStart = this.#at;
  }

  /** The next field is passed on with another value. */
  replace(field: number, value: string): void {
    this.drop(field);
    this.add(this.#raw[2 * field] as string, value);
  }

  /** Adds a line of our own. */
  add(name: string, value: string): void {
    this.#endSpan();
    this.#text += `${name}: ${value}\r\n`;
    this.#made++;
  }

  /** Adds lines of our own, best before any `add`: behind one they are checked again. */
  addShared(lines: SharedLines): void {
    this.#endSpan();
    this.#addChecked(lines.text, lines.count);
  }

  #endSpan(): void {
    if (this.#spanLines === 0) return;
    this.#addChecked((this.#source as string).slice(this.#spanStart, this.#at), this.#spanLines);
    this.#spanStart = this.#at;
    this.#spanLines = 0;
  }

  #addChecked(lines: string, count: number): void {
    this.#text += lines;
    if (this.#made === 0) this.#checked = this.#text.length;
    else this.#made += count;
  }
}
