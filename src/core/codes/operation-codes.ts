import type { CodeEntry } from "./code-entry.ts";

export const operationCodes = {} as const satisfies Record<`E_${string}`, CodeEntry>;
