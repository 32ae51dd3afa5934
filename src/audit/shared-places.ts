import type { Places } from "./places.ts";

/** What the audit log of a process and its worker threads share: places, and whether records can be written at all. In memory that all
 *  threads see, so that `onFailure: block` holds to the record whichever threads calls come to. */
export type AuditCells = Int32Array;

const BROKEN = 0;
const CALLS = 1;
const REFUSALS = 2;
/** From here on, by worker: places that it has taken and whose records it has not handed over. */
const HELD = 3;

/** Cells for workers 0 to `workers` - 1. */
export function createAuditCells(workers: number): AuditCells {
  return new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT * (HELD + workers)));
}

/** Says whether a sink is broken. */
export function setBroken(cells: AuditCells, broken: boolean): void {
  Atomics.store(cells, BROKEN, broken ? 1 : 0);
}

export function isBroken(cells: AuditCells): boolean {
  return Atomics.load(cells, BROKEN) !== 0;
}

/** Places of both queues that a worker took for records which have not come. */
export function heldBy(cells: AuditCells, worker: number): number {
  return Atomics.load(cells, HELD + worker);
}

/** The worker hands over so many records: from here on their places are the main thread's to free. */
export function handOver(cells: AuditCells, worker: number, count: number): void {
  Atomics.sub(cells, HELD + worker, count);
}

/** The places of one of the two queues, as one worker takes them; `worker` undefined: as the main thread frees them. */
export function sharedPlaces(
  cells: AuditCells,
  queue: "calls" | "refusals",
  capacity: number,
  worker?: number,
): Places {
  const used = queue === "calls" ? CALLS : REFUSALS;
  const held = worker === undefined ? undefined : HELD + worker;
  return {
    capacity,
    get used() {
      return Math.min(capacity, Atomics.load(cells, used));
    },
    take() {
      if (Atomics.add(cells, used, 1) >= capacity) {
        Atomics.sub(cells, used, 1);
        return false;
      }
      if (held !== undefined) Atomics.add(cells, held, 1);
      return true;
    },
    free(count) {
      Atomics.sub(cells, used, count);
      if (held !== undefined) Atomics.sub(cells, held, count);
    },
  };
}
