import { VALUE_BYTE } from "./byte-classes.ts";
import type { Fields } from "./http1-events.ts";
import type { OutputBuffer } from "./output-buffer.ts";

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
  readonly fields: Fields;

  /** `raw` is name, value, name, value … with lower-case names. Throws TypeError if a byte that would leave is a control character other
   *  than HTAB. */
  constructor(raw: readonly string[]) {
    let text = "";
    const lower: string[] = [];
    for (let at = 0; at < raw.length; at += 2) {
      const line = `${raw[at]}: ${raw[at + 1]}`;
      if (!Buffer.from(line, "latin1").every((byte) => VALUE_BYTE[byte] === 1)) {
        throw new TypeError("a name or value to be written holds a line end or another control character");
      }
      text += `${line}\r\n`;
      lower.push((raw[at] as string).toLowerCase());
    }
    // one flat string instead of a tree of pieces, which every message would walk
    this.text = Buffer.from(text, "latin1").toString("latin1");
    this.fields = { raw: [...raw], lower };
  }
}

/** Takes the lines of a message one by one, or many at once: an encoder of a version that writes no text. */
export interface LineEncoder {
  field(out: OutputBuffer, name: string, value: string): void;
  /** The fields [from, to), whose lines are the text `key`. */
  run(out: OutputBuffer, key: string, fields: Fields, from: number, to: number): void;
}

const NO_SHARED: readonly SharedLines[] = [];

/** The field lines of a message to write: those that it passes on of a received head, then our own. The fields of that head are
 *  told one by one and in order, each to be kept, replaced or dropped. */
export class HeadLines {
  readonly #fields: Fields;
  readonly #source: string | undefined;
  /** Where the next field's line begins in the source. */
  #at: number;
  /** Spans of kept lines, four numbers each: start and end in the source, first field and the one behind the last. */
  readonly #spans: number[] = [];
  #spanStart = 0;
  #spanField = -1;
  #nextField = 0;
  /** The field that HTTP/2 says otherwise (Host), or -1. */
  #hostField = -1;
  #host: string | undefined;
  #shared: SharedLines[] | undefined;
  /** name, value, name, value … */
  readonly #own: string[] = [];
  #text: string | undefined;
  #checked = 0;
  #made = 0;

  constructor(fields: Fields) {
    this.#fields = fields;
    const received = fields instanceof ReceivedFields ? fields : undefined;
    this.#source = received?.text;
    this.#at = received === undefined ? 0 : received.start;
  }

  /** The lines as HTTP/1.1 writes them, each ended by CR LF. Complete once the last field was told. */
  get text(): string {
    return this.#text ?? this.#build();
  }

  /** Length of the beginning of `text` that needs no check any more: copied from a head, whose decoder looked at every byte, or shared. */
  get checked(): number {
    if (this.#text === undefined) this.#build();
    return this.#checked;
  }

  /** Number of lines behind that. */
  get made(): number {
    if (this.#text === undefined) this.#build();
    return this.#made;
  }

  /** The next field, which is number `field` of the head, is passed on as it came. */
  keep(field: number): void {
    if (this.#spanField === -1) {
      this.#spanField = field;
      this.#spanStart = this.#at;
    }
    this.#pass(field);
  }

  /** The next field is Host and passed on, with another value if one is given. HTTP/2 has it as a pseudo-header instead. */
  keepHost(field: number, value?: string): void {
    this.#endSpan();
    if (value === undefined) this.#hostField = this.#spans.length;
    this.#host = value;
    if (value === undefined) {
      const start = this.#at;
      this.#pass(field);
      this.#spans.push(start, this.#at, field, field + 1);
    } else this.#pass(field);
  }

  /** The next field is not passed on. */
  drop(field: number): void {
    this.#endSpan();
    this.#pass(field);
  }

  /** Adds a line of our own; `name` in lower case. */
  add(name: string, value: string): void {
    this.#own.push(name, value);
  }

  /** Adds lines of our own. */
  addShared(lines: SharedLines): void {
    this.#shared ??= [];
    this.#shared.push(lines);
  }

  /** Hands the fields to an encoder of a version that has lower-case names and no Host. */
  encode(out: OutputBuffer, encoder: LineEncoder): void {
    this.#endSpan();
    const fields = this.#fields;
    const source = this.#source;
    const spans = this.#spans;
    for (let at = 0; at < spans.length; at += 4) {
      if (at === this.#hostField) continue;
      const from = spans[at + 2] as number;
      const to = spans[at + 3] as number;
      if (source !== undefined) {
        encoder.run(out, source.slice(spans[at], spans[at + 1]), fields, from, to);
        continue;
      }
      for (let field = from; field < to; field++) {
        encoder.field(out, fields.lower[field] as string, fields.raw[2 * field + 1] as string);
      }
    }
    for (const shared of this.#shared ?? NO_SHARED) {
      encoder.run(out, shared.text, shared.fields, 0, shared.fields.lower.length);
    }
    const own = this.#own;
    for (let at = 0; at < own.length; at += 2) encoder.field(out, own[at] as string, own[at + 1] as string);
  }

  #pass(field: number): void {
    this.#nextField = field + 1;
    if (this.#source === undefined) return;
    const { raw } = this.#fields;
    this.#at += (raw[2 * field] as string).length + (raw[2 * field + 1] as string).length + 4;
  }

  #endSpan(): void {
    if (this.#spanField === -1) return;
    this.#spans.push(this.#spanStart, this.#at, this.#spanField, this.#nextField);
    this.#spanField = -1;
  }

  #build(): string {
    this.#endSpan();
    const source = this.#source;
    const spans = this.#spans;
    let text = "";
    if (source !== undefined) {
      for (let at = 0; at < spans.length; at += 4) text += source.slice(spans[at], spans[at + 1]);
    }
    for (const shared of this.#shared ?? NO_SHARED) text += shared.text;
    this.#checked = text.length;
    let made = 0;
    if (source === undefined) {
      const { raw } = this.#fields;
      for (let at = 0; at < spans.length; at += 4) {
        const to = spans[at + 3] as number;
        for (let field = spans[at + 2] as number; field < to; field++) {
          text += `${raw[2 * field] as string}: ${raw[2 * field + 1] as string}\r\n`;
          made++;
        }
      }
    }
    if (this.#host !== undefined) {
      text += `host: ${this.#host}\r\n`;
      made++;
    }
    const own = this.#own;
    for (let at = 0; at < own.length; at += 2) {
      text += `${own[at] as string}: ${own[at + 1] as string}\r\n`;
      made++;
    }
    this.#made = made;
    this.#text = text;
    return text;
  }
}
