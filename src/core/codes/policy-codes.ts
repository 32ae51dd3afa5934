import type { CodeEntry } from "./code-entry.ts";

export const policyCodes = {
  E_POLICY_DENIED_BY_RULE: {
    meaning: "a DENY rule matched the call",
    fix: "change the DENY rule named in the record",
  },
  E_POLICY_DENIED_BY_DEFAULT: {
    meaning: "no ALLOW rule matched the call",
    fix: "extend the nearest ALLOW rule named in the record, or write one",
  },
  E_POLICY_UNSUPPORTED: {
    meaning: "a policy uses a kind, action or field that this version does not build",
    fix: "remove it, or wait for the version that has it",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
