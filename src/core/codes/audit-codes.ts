import type { CodeEntry } from "./code-entry.ts";

export const auditCodes = {
  E_AUDIT_UNAVAILABLE: {
    meaning: "no audit record could be reserved and audit.onFailure is block",
    fix: "free the audit sink: disk space, permissions, or a slow disk",
  },
  E_AUDIT_SINK: {
    meaning: "an audit sink cannot be opened or written",
    fix: "look at the problem in the log or in countersign status: disk space, permissions, a missing folder, a closed pipe",
  },
  E_AUDIT_DROPPED: {
    meaning: "records found no place in the audit queue and audit.onFailure is drop",
    fix: "find out why the sink is slow or broken, or raise audit.queue",
  },
  E_AUDIT_TORN_LINE: {
    meaning: "the audit file ended in the middle of a line when the sidecar started",
    fix: "expect this after a kill or a power loss; the record on that line is incomplete",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
