import type { CodeEntry } from "./code-entry.ts";

export const operationCodes = {
  E_STARTING: {
    meaning: "the sidecar has not opened its listeners yet",
    fix: "wait; the log says what it waits for",
  },
  E_DRAINING: {
    meaning: "the sidecar was told to stop and ends the calls that are open",
    fix: "send new calls elsewhere",
  },
  E_WORKER_SILENT: {
    meaning: "a worker thread does not answer: it hangs, or the machine is far too busy",
    fix: "look at CPU use; if it lasts, restart the sidecar and report it",
  },
  E_WORKER_LOST: {
    meaning: "a worker thread ended by a failure of ours; the sidecar drains its other workers and exits with 1",
    fix: "have the sidecar restarted (systemd, Kubernetes), and report what the log says",
  },
  E_STATUS_UNREACHABLE: {
    meaning: "no sidecar answers at the admin socket",
    fix: "check that the sidecar runs, that its config has admin.listen, and that you may open the socket",
  },
  E_AUDIT_FILE: {
    meaning: "an audit file cannot be read",
    fix: "check the path and that you may read the file: it belongs to the sidecar's user, mode 0600",
  },
  E_DEMO: {
    meaning: "a process of the demo did not do its part",
    fix: "read what it said; if it is not about this machine, report it",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
