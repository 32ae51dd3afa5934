import type { Fields } from "./http1-events.ts";

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
