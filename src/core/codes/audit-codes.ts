import type { CodeEntry } from "./code-entry.ts";

export const auditCodes = {
  E_AUDIT_UNAVAILABLE: {
    meaning: "no audit record could be reserved and audit.onFailure is block",
    fix: "free the audit sink: disk space, permissions, or a slow disk",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
