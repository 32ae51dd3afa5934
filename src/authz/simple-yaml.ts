import type { SourcePosition } from "../core/errors.ts";
import type { YamlEntry, YamlMap, YamlValue } from "./yaml-documents.ts";

/** Where the reading stands. */
interface Cursor {
  readonly file: string;
  readonly text: string;
  /** Offset of the next character. */
  at: number;
  line: number;
  lineStart: number;
  /** Of the line that `at` stands in, or END_OF_DOCUMENT or END_OF_TEXT. */
  indent: number;
  /** Read so far. */
  values: number;
  /** When that many are read, it is time to yield. */
  pauseAt: number;
}

const END_OF_TEXT = -1;
const END_OF_DOCUMENT = -2;
const MAX_DEPTH = 24;
const MAX_VALUES = 500_000;
/** Looked through one by one for the same key. */
const MAX_KEYS = 32;
/** Characters that are checked, and values that are read, in one step. */
const STEP_CHARS = 65_536;
const STEP_VALUES = 128;

const [NEWLINE, SPACE, HASH, DASH] = [0x0a, 0x20, 0x23, 0x2d];
const [QUOTE, APOSTROPHE, COMMA] = [0x22, 0x27, 0x2c];
const [LIST_START, LIST_END, MAP_START, MAP_END] = [0x5b, 0x5d, 0x7b, 0x7d];

const SIMPLE_CHARS = /^[\n\x20-\x7e]*$/;
const KEY = /([A-Za-z][A-Za-z0-9_./-]{0,200}):(?=[ \n]|$)/y;
/** What no one could take for a number, and without spaces. */
const PLAIN = /(?:[A-Za-z/]|[0-9]{1,3}(?:\.[0-9]{1,3}){3})(?:[A-Za-z0-9_./*@[\]{}-]|:(?=[A-Za-z0-9/]))*/y;
const PLAIN_IN_FLOW = /(?:[A-Za-z/]|[0-9]{1,3}(?:\.[0-9]{1,3}){3})(?:[A-Za-z0-9_./*@-]|:(?=[A-Za-z0-9/]))*/y;
const DOUBLE_QUOTED = /"([^"\\\n]*)"/y;
const SINGLE_QUOTED = /'([^'\n]*)'(?!')/y;
/** Words that are no texts. */
const WORDS = new Set(["true", "True", "TRUE", "false", "False", "FALSE", "null", "Null", "NULL"]);

/** Takes one document after another; it may pause. */
export type TakeDocument = (document: YamlValue) => Generator<void, void>;

/** Reads YAML as people write it, many times faster than a parser of the whole language: ASCII, block mappings and sequences, flow collections on
 *  one line, plain texts without spaces, quoted texts without escapes, comments. What `take` gets is exactly what the library gives. For everything
 *  else, and for everything that is wrong, the result is false: whoever asks must then forget what was taken, and ask the library. */
export function* readSimpleYaml(file: string, text: string, take: TakeDocument): Generator<void, boolean> {
  for (let from = 0; from < text.length; from += STEP_CHARS) {
    if (!SIMPLE_CHARS.test(text.slice(from, from + STEP_CHARS))) return false;
    yield;
  }
  return yield* readDocuments(file, text, take);
}

function* readDocuments(file: string, text: string, take: TakeDocument): Generator<void, boolean> {
  const cursor: Cursor = { file, text, at: -1, line: 0, lineStart: 0, indent: 0, values: 0, pauseAt: STEP_VALUES };
  let count = 0;
  for (;;) {
    if (!nextLine(cursor)) return false;
    if (cursor.indent === END_OF_DOCUMENT) continue;
    if (cursor.indent === END_OF_TEXT) return count > 0;
    const document = cursor.indent === 0 ? yield* readBlock(cursor, 0, 0) : undefined;
    // A line that belongs to none of the blocks is an error.
    if (document === undefined || isInside(cursor)) return false;
    count++;
    yield* take(document);
  }
}

function isInside({ indent }: Cursor): boolean {
  return indent >= 0;
}

/** From the end of a line to the first character of the next one that says something. False: it is not simple. */
function nextLine(cursor: Cursor): boolean {
  const { text } = cursor;
  for (;;) {
    if (cursor.at >= text.length) {
      cursor.indent = END_OF_TEXT;
      return true;
    }
    cursor.at++;
    cursor.line++;
    cursor.lineStart = cursor.at;
    skipSpaces(cursor);
    const code = text.charCodeAt(cursor.at);
    if (code === HASH) skipComment(cursor);
    else if (code !== NEWLINE && cursor.at < text.length) break;
  }
  cursor.indent = cursor.at - cursor.lineStart;
  if (cursor.indent > 0 || !text.startsWith("---", cursor.at)) return true;
  cursor.at += 3;
  cursor.indent = END_OF_DOCUMENT;
  return isEndOfLine(cursor);
}

function skipSpaces(cursor: Cursor): void {
  while (cursor.text.charCodeAt(cursor.at) === SPACE) cursor.at++;
}

function skipComment(cursor: Cursor): void {
  const end = cursor.text.indexOf("\n", cursor.at);
  cursor.at = end < 0 ? cursor.text.length : end;
}

function isEndOfLine({ text, at }: Cursor): boolean {
  return at >= text.length || text.charCodeAt(at) === NEWLINE;
}

/** Goes to the end of the line, where only spaces and a comment may stand. */
function endsLine(cursor: Cursor): boolean {
  skipSpaces(cursor);
  const { text, at } = cursor;
  if (text.charCodeAt(at) === HASH && text.charCodeAt(at - 1) === SPACE) skipComment(cursor);
  return isEndOfLine(cursor);
}

function isItem({ text, at }: Cursor): boolean {
  return text.charCodeAt(at) === DASH && text.charCodeAt(at + 1) === SPACE;
}

function placeOf({ file, line, at, lineStart }: Cursor): SourcePosition {
  return { file, line, column: at - lineStart + 1 };
}

/** What the expression finds at the cursor, which goes behind it; undefined: nothing. */
function take(cursor: Cursor, pattern: RegExp, group: 0 | 1): string | undefined {
  pattern.lastIndex = cursor.at;
  const found = pattern.exec(cursor.text);
  if (found === null) return undefined;
  cursor.at = pattern.lastIndex;
  return found[group];
}

function takeKey(cursor: Cursor, entries: readonly YamlEntry[]): string | undefined {
  const key = take(cursor, KEY, 1);
  if (key === undefined || WORDS.has(key) || entries.length >= MAX_KEYS) return undefined;
  return entries.some((entry) => entry.key === key) ? undefined : key;
}

/** `start` is the offset of the value. Expressions also have the place of their first character. */
function entryOf({ text }: Cursor, key: string, at: SourcePosition, value: YamlValue, start: number): YamlEntry {
  if (key !== "conditions" || value.kind !== "text") return { key, at, value };
  const code = text.charCodeAt(start);
  const { file, line = 1, column = 1 } = value.at;
  const isQuoted = code === QUOTE || code === APOSTROPHE;
  return { key, at, value: { ...value, inner: { file, line, column: isQuoted ? column + 1 : column } } };
}

/** A mapping or sequence that begins at the cursor, in column `indent`. Ends at the first line behind it. */
function* readBlock(cursor: Cursor, indent: number, depth: number): Generator<void, YamlValue | undefined> {
  if (depth > MAX_DEPTH || ++cursor.values > MAX_VALUES) return undefined;
  if (isItem(cursor)) return yield* readItems(cursor, indent, depth);
  return yield* readEntries(cursor, indent, depth);
}

function* readEntries(cursor: Cursor, indent: number, depth: number): Generator<void, YamlMap | undefined> {
  const at = placeOf(cursor);
  const entries: YamlEntry[] = [];
  for (;;) {
    const keyAt = placeOf(cursor);
    const key = takeKey(cursor, entries);
    if (key === undefined) return undefined;
    skipSpaces(cursor);
    const start = cursor.at;
    let value: YamlValue | undefined;
    if (endsLine(cursor)) {
      if (!nextLine(cursor)) return undefined;
      // Items may stand right below their key.
      if (cursor.indent > indent || (cursor.indent === indent && isItem(cursor)))
        value = yield* readBlock(cursor, cursor.indent, depth + 1);
    } else value = readLine(cursor, depth);
    if (value === undefined) return undefined;
    entries.push(entryOf(cursor, key, keyAt, value, start));
    if (cursor.indent < indent) return { kind: "map", at, entries };
    if (cursor.indent > indent) return undefined;
  }
}

function* readItems(cursor: Cursor, indent: number, depth: number): Generator<void, YamlValue | undefined> {
  const at = placeOf(cursor);
  const items: YamlValue[] = [];
  for (;;) {
    cursor.at++;
    skipSpaces(cursor);
    const column = cursor.at - cursor.lineStart;
    KEY.lastIndex = cursor.at;
    const isBlock = isItem(cursor) || KEY.test(cursor.text);
    const item = isBlock ? yield* readBlock(cursor, column, depth + 1) : readLine(cursor, depth);
    if (item === undefined) return undefined;
    items.push(item);
    if (cursor.values >= cursor.pauseAt) {
      cursor.pauseAt = cursor.values + STEP_VALUES;
      yield;
    }
    if (cursor.indent < indent || (cursor.indent === indent && !isItem(cursor))) return { kind: "list", at, items };
    if (cursor.indent > indent) return undefined;
  }
}

/** A value that fills the rest of the line. Ends at the next line. */
function readLine(cursor: Cursor, depth: number): YamlValue | undefined {
  const value = readInline(cursor, PLAIN, depth + 1);
  return value !== undefined && endsLine(cursor) && nextLine(cursor) ? value : undefined;
}

function readInline(cursor: Cursor, plain: RegExp, depth: number): YamlValue | undefined {
  if (depth > MAX_DEPTH || ++cursor.values > MAX_VALUES) return undefined;
  const at = placeOf(cursor);
  switch (cursor.text.charCodeAt(cursor.at)) {
    case LIST_START:
      return readFlowList(cursor, at, depth);
    case MAP_START:
      return readFlowMap(cursor, at, depth);
    case QUOTE:
      return textOf(take(cursor, DOUBLE_QUOTED, 1), at);
    case APOSTROPHE:
      return textOf(take(cursor, SINGLE_QUOTED, 1), at);
    default: {
      const text = take(cursor, plain, 0);
      return text !== undefined && WORDS.has(text) ? undefined : textOf(text, at);
    }
  }
}

function textOf(text: string | undefined, at: SourcePosition): YamlValue | undefined {
  return text === undefined ? undefined : { kind: "text", at, text };
}

function readFlowList(cursor: Cursor, at: SourcePosition, depth: number): YamlValue | undefined {
  const items: YamlValue[] = [];
  cursor.at++;
  skipSpaces(cursor);
  while (items.length > 0 || cursor.text.charCodeAt(cursor.at) !== LIST_END) {
    const item = readInline(cursor, PLAIN_IN_FLOW, depth + 1);
    if (item === undefined) return undefined;
    items.push(item);
    if (isLast(cursor, LIST_END)) break;
    if (cursor.text.charCodeAt(cursor.at) !== COMMA) return undefined;
    cursor.at++;
    skipSpaces(cursor);
  }
  cursor.at++;
  return { kind: "list", at, items };
}

function readFlowMap(cursor: Cursor, at: SourcePosition, depth: number): YamlValue | undefined {
  const entries: YamlEntry[] = [];
  cursor.at++;
  skipSpaces(cursor);
  while (entries.length > 0 || cursor.text.charCodeAt(cursor.at) !== MAP_END) {
    const keyAt = placeOf(cursor);
    const key = takeKey(cursor, entries);
    if (key === undefined) return undefined;
    skipSpaces(cursor);
    const start = cursor.at;
    const value = readInline(cursor, PLAIN_IN_FLOW, depth + 1);
    if (value === undefined) return undefined;
    entries.push(entryOf(cursor, key, keyAt, value, start));
    if (isLast(cursor, MAP_END)) break;
    if (cursor.text.charCodeAt(cursor.at) !== COMMA) return undefined;
    cursor.at++;
    skipSpaces(cursor);
  }
  cursor.at++;
  return { kind: "map", at, entries };
}

function isLast(cursor: Cursor, end: number): boolean {
  skipSpaces(cursor);
  return cursor.text.charCodeAt(cursor.at) === end;
}
