import type { Entry } from "./entries.ts";
import { formatSelector } from "./selectors.ts";

/** An entry as JSON, in the words of issuer.yaml: parseEntry reads it back. Times in whole milliseconds. */
export interface EntryJson {
  readonly id: string;
  readonly selectors: readonly string[];
  readonly hint: string;
  readonly svidTtl?: string;
  readonly jwtTtl?: string;
  readonly federatesWith?: readonly string[];
}

export function entryJson({ id, selectors, hint, svidTtlMs, jwtTtlMs, federatesWith }: Entry): EntryJson {
  return {
    id,
    selectors: selectors.map(formatSelector),
    hint,
    ...(svidTtlMs === undefined ? {} : { svidTtl: `${svidTtlMs}ms` }),
    ...(jwtTtlMs === undefined ? {} : { jwtTtl: `${jwtTtlMs}ms` }),
    ...(federatesWith === undefined ? {} : { federatesWith }),
  };
}
