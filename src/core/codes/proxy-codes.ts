import type { CodeEntry } from "./code-entry.ts";

export const proxyCodes = {
  E_UPSTREAM_CONNECT: {
    meaning: "the upstream could not be reached",
    fix: "check that it runs and listens at the configured address",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
