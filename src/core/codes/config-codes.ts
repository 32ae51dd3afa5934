import type { CodeEntry } from "./code-entry.ts";

export const configCodes = {
  E_CONFIG_UNSUPPORTED: {
    meaning: "the configuration asks for something that this version does not build",
    fix: "remove it, or wait for the version that has it",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
