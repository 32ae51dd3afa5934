import type { CodeEntry } from "./code-entry.ts";

export const issuerCodes = {} as const satisfies Record<`E_${string}`, CodeEntry>;
