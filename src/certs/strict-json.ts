/** Text that is no JSON, or has an object with the same key twice. The message never holds the text. */
export class JsonError extends Error {}

/** JSON.parse that refuses duplicate keys, of which JSON.parse keeps the last and others the first, and that gives
 *  integers beyond 2^53 as bigint. Throws JsonError. */
export function parseStrictJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text, exactIntegers);
  } catch {
    throw new JsonError("is no JSON");
  }
  const key = duplicateKey(text);
  if (key !== undefined) throw new JsonError(`has the key ${JSON.stringify(key.slice(0, 64))} twice in one object`);
  return value;
}

function exactIntegers(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  const source = context?.source;
  const isBig =
    typeof value === "number" && !Number.isSafeInteger(value) && source !== undefined && /^-?\d+$/.test(source);
  return isBig ? BigInt(source) : value;
}

/** Scans text that JSON.parse took: only strings and brackets matter. */
function duplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = []; // a set of keys for an object, undefined for an array
  for (const [token] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"(?:\s*:)?|[{}[\]]/gs)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (token.endsWith(":")) {
      const key = JSON.parse(token.slice(0, -1)) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}
