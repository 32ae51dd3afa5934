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
  #verbatim = 0;
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

  /** Length of the beginning of `text` that is copied from a head, and so was checked by its decoder byte by byte. */
  get verbatim(): number {
    this.#endSpan();
    return this.#verbatim;
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
    this.addLines(`${name}: ${value}\r\n`, 1);
  }

  /** Adds `count` lines of our own. */
  addLines(lines: string, count: number): void {
    this.#endSpan();
    this.#text += lines;
    this.#made += count;
  }

  #endSpan(): void {
    if (this.#spanLines === 0) return;
    this.#text += (this.#source as string).slice(this.#spanStart, this.#at);
    if (this.#made === 0) this.#verbatim = this.#text.length;
    else this.#made += this.#spanLines;
    this.#spanStart = this.#at;
    this.#spanLines = 0;
  }
}
