import type { AuditLog, AuditSlot } from "../../src/core/audit-log.ts";
import type { CallOutcome } from "../../src/core/call-outcome.ts";

export interface MemoryAudit extends AuditLog {
  /** Final records, in order. */
  readonly ended: CallOutcome[];
  /** Start and progress records. */
  readonly notes: CallOutcome[];
  /** Slots that are reserved and not yet used up. */
  readonly open: number;
  /** Resolves with the first final record, old or new, that fits. */
  next(fits: (outcome: CallOutcome) => boolean): Promise<CallOutcome>;
  /** While true, reserve() has no place. */
  full: boolean;
}

/** An audit log that keeps its records. Throws on every misuse of a slot, as the real one does. */
export function memoryAudit(): MemoryAudit {
  const ended: CallOutcome[] = [];
  const notes: CallOutcome[] = [];
  const slots = new Set<AuditSlot>();
  let waiting: { fits: (outcome: CallOutcome) => boolean; resolve: (outcome: CallOutcome) => void }[] = [];
  const add = (outcome: CallOutcome): void => {
    ended.push(Object.freeze(outcome));
    waiting = waiting.filter(({ fits, resolve }) => {
      if (!fits(outcome)) return true;
      resolve(outcome);
      return false;
    });
  };
  const use = (slot: AuditSlot): void => {
    if (!slots.delete(slot)) throw new TypeError("an audit slot was used twice");
  };
  const audit: MemoryAudit = {
    ended,
    notes,
    full: false,
    get open() {
      return slots.size;
    },
    reserve() {
      if (audit.full) return undefined;
      const slot = {} as AuditSlot;
      slots.add(slot);
      return slot;
    },
    complete(slot, outcome) {
      use(slot);
      add(outcome);
    },
    note: (outcome) => void notes.push(outcome),
    refuse: add,
    release: use,
    next(fits) {
      const found = ended.find(fits);
      if (found !== undefined) return Promise.resolve(found);
      return new Promise((resolve) => waiting.push({ fits, resolve }));
    },
  };
  return audit;
}
