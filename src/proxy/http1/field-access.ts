import type { Fields } from "./http1-events.ts";

/** Index of the first field of that lower-cased name in `fields.lower`, or -1. Its value is `raw[2 * index + 1]`. */
export function fieldIndex(fields: Fields, lowerName: string): number {
  const { lower } = fields;
  for (let at = 0; at < lower.length; at++) if (lower[at] === lowerName) return at;
  return -1;
}

/** Value of the only field of that lower-cased name; undefined if there is none or more than one. */
export function fieldValue(fields: Fields, lowerName: string): string | undefined {
  const { lower } = fields;
  let found = -1;
  for (let at = 0; at < lower.length; at++) {
    if (lower[at] !== lowerName) continue;
    if (found !== -1) return undefined;
    found = at;
  }
  return found === -1 ? undefined : fields.raw[2 * found + 1];
}

/** Values of all fields of that lower-cased name joined by ", ", as RFC 9110 section 5.3 allows for lists; undefined if there is none. */
export function joinedFieldValues(fields: Fields, lowerName: string): string | undefined {
  const { lower, raw } = fields;
  let joined: string | undefined;
  for (let at = 0; at < lower.length; at++) {
    if (lower[at] !== lowerName) continue;
    const value = raw[2 * at + 1] as string;
    joined = joined === undefined ? value : `${joined}, ${value}`;
  }
  return joined;
}

/** Removes, in place, every field whose lower-cased name is in `names`. */
export function removeFields(fields: Fields, names: readonly string[]): void {
  if (names.length === 0) return;
  const { lower, raw } = fields;
  let kept = 0;
  for (let at = 0; at < lower.length; at++) {
    const name = lower[at] as string;
    if (names.includes(name)) continue;
    if (kept !== at) {
      lower[kept] = name;
      raw[2 * kept] = raw[2 * at] as string;
      raw[2 * kept + 1] = raw[2 * at + 1] as string;
    }
    kept++;
  }
  lower.length = kept;
  raw.length = 2 * kept;
}
