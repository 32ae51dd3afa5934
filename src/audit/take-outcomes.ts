import type { AuditLog } from "../core/audit-log.ts";
import type { CallQueue } from "./call-queue.ts";
import type { RefusalQueue } from "./refusal-queue.ts";

/** The part of an audit log that takes outcomes into a thread's queues. `wake`: one waits now; `drop`: one found no place. */
export function takeOutcomes(
  calls: CallQueue,
  refusals: RefusalQueue,
  wake: () => void,
  drop: () => void,
): Pick<AuditLog, "complete" | "note" | "refuse" | "release"> {
  return {
    complete(slot, outcome) {
      if (calls.complete(slot, outcome)) wake();
      else drop();
    },
    note(outcome) {
      if (calls.add(outcome)) wake();
      else drop();
    },
    refuse(outcome) {
      refusals.add(outcome);
      wake();
    },
    release: (slot) => calls.release(slot),
  };
}
