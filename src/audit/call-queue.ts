import type { AuditSlot } from "../core/audit-log.ts";
import type { CallOutcome } from "../core/call-outcome.ts";
import type { Places } from "./places.ts";

/** What an AuditSlot is inside. A fresh small object per call, so that a second use is always noticed. */
interface Slot {
  live: boolean;
  /** False for a slot given out while the queue was full (`drop`): it gets a place only if one is free at the end. */
  readonly counted: boolean;
}

/** Bounded ring of finished calls. Places are counted from the reservation until `free`, which the log calls when every
 *  sink has the record, so reserved + waiting + being written never exceed the capacity. */
export interface CallQueue {
  readonly capacity: number;
  /** Reserved, waiting and being written. */
  readonly used: number;
  /** Waiting to be serialised. */
  readonly waiting: number;
  reserve(): AuditSlot | undefined;
  /** A slot without a place. */
  overdraw(): AuditSlot;
  /** False when the slot had no place and none is free: the record is dropped. Throws TypeError on a used slot. */
  complete(slot: AuditSlot, outcome: CallOutcome): boolean;
  /** Throws TypeError on a used slot. */
  release(slot: AuditSlot): void;
  /** Adds a record without a slot; false when there is no free place. */
  add(outcome: CallOutcome): boolean;
  /** The oldest waiting outcome; its place stays taken until `free`. */
  take(): CallOutcome | undefined;
  /** Gives back the places of `count` records that were taken. */
  free(count: number): void;
}

export function createCallQueue(places: Places): CallQueue {
  const { capacity } = places;
  const ring: (CallOutcome | undefined)[] = Array.from({ length: capacity });
  let head = 0;
  let waiting = 0;

  function push(outcome: CallOutcome): void {
    let tail = head + waiting;
    if (tail >= capacity) tail -= capacity;
    ring[tail] = outcome;
    waiting++;
  }
  /** Ends a slot's life and says whether it held a place. */
  function use(slot: AuditSlot): boolean {
    const inner = slot as unknown as Slot;
    if (!inner.live) throw new TypeError("an audit slot was used twice");
    inner.live = false;
    return inner.counted;
  }
  function add(outcome: CallOutcome): boolean {
    if (!places.take()) return false;
    push(outcome);
    return true;
  }
  return {
    capacity,
    get used() {
      return places.used;
    },
    get waiting() {
      return waiting;
    },
    reserve() {
      if (!places.take()) return undefined;
      return { live: true, counted: true } satisfies Slot as unknown as AuditSlot;
    },
    overdraw: () => ({ live: true, counted: false }) satisfies Slot as unknown as AuditSlot,
    complete(slot, outcome) {
      if (!use(slot)) return add(outcome);
      push(outcome);
      return true;
    },
    release(slot) {
      if (use(slot)) places.free(1);
    },
    add,
    take() {
      if (waiting === 0) return undefined;
      const outcome = ring[head];
      ring[head] = undefined;
      head = head + 1 === capacity ? 0 : head + 1;
      waiting--;
      return outcome;
    },
    free: (count) => places.free(count),
  };
}
