import type { CodeEntry } from "./code-entry.ts";

export const httpCodes = {} as const satisfies Record<`E_${string}`, CodeEntry>;
