/** Text that is no JSON, has an object with the same key twice, or more in it than any document of ours. The message never holds the text. */
export class JsonError extends Error {}

/** Objects, lists and their members. A set of 256 keys has some 4 000; each costs about half a microsecond. */
const MAX_VALUES = 16_384;
/** As deep as protobuf's readers of JSON go, and so Envoy's, unless they are told otherwise. */
const MAX_DEPTH = 100;
/** A bigint takes the square of its length to make. 64 bits have 20 digits. */
const MAX_INTEGER_CHARS = 40;

/** JSON.parse that refuses duplicate keys, of which JSON.parse keeps the last and others the first, and that gives
 *  integers beyond 2^53 as bigint, up to 40 digits. At most 16 384 values, 100 levels deep: its time grows with the text's length alone. Throws
 *  JsonError. */
export function parseStrictJson(text: string): unknown {
  return parse(text, exactIntegers);
}

/** Refuses what parseStrictJson refuses, for text that somebody else reads. Throws JsonError. */
export function checkStrictJson(text: string): void {
  parse(text, undefined);
}

function parse(text: string, reviver: typeof exactIntegers | undefined): unknown {
  const key = duplicateKey(text);
  let value: unknown;
  try {
    value = JSON.parse(text, reviver);
  } catch {
    throw new JsonError("is no JSON");
  }
  if (key !== undefined) throw new JsonError(`has the key ${JSON.stringify(key.slice(0, 64))} twice in one object`);
  return value;
}

function exactIntegers(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  const source = context?.source ?? "";
  return source.length <= MAX_INTEGER_CHARS && /^-?\d+$/.test(source) ? BigInt(source) : value;
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_LIST = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** A key that comes twice in one object of a JSON text; of any other text nothing certain. Throws JsonError for too many values or
 *  levels. */
function duplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = []; // a set of keys for an object, undefined for a list
  let values = 0;
  let twice: string | undefined;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE: {
        const from = at;
        at = endOfString(text, from);
        const keys = open.at(-1);
        if (keys === undefined || !isKey(text, at)) break;
        const key = unescaped(text.slice(from, at + 1));
        if (keys.has(key)) twice ??= key;
        keys.add(key);
        break;
      }
      case OPEN_OBJECT:
      case OPEN_LIST:
        open.push(text.charCodeAt(at) === OPEN_OBJECT ? new Set() : undefined);
        if (open.length > MAX_DEPTH) throw new JsonError(`is nested more than ${MAX_DEPTH} levels deep`);
        values++;
        break;
      case CLOSE_OBJECT:
      case CLOSE_LIST:
        open.pop();
        break;
      case COMMA:
        values++;
        break;
    }
    if (values > MAX_VALUES) throw new JsonError(`has more than ${MAX_VALUES} values`);
  }
  return twice;
}

/** Where the string that begins at `from` has its closing quote; the text's end if it has none. */
function endOfString(text: string, from: number): number {
  for (let at = from + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at;
    if (code === BACKSLASH) at++;
  }
  return text.length;
}

/** Whether a colon follows the string that ends at `end`. */
function isKey(text: string, end: number): boolean {
  let at = end + 1;
  // JSON's white space: what else may stand there is no JSON
  while (text.charCodeAt(at) <= 0x20) at++;
  return text.charCodeAt(at) === COLON;
}

/** `quoted`: with its quotes. */
function unescaped(quoted: string): string {
  if (!quoted.includes("\\")) return quoted.slice(1, -1);
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return quoted;
  }
}
