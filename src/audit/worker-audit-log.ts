import type { AuditLog } from "../core/audit-log.ts";
import type { CallOutcome } from "../core/call-outcome.ts";
import type { Clock } from "../core/clock.ts";
import type { AuditOptions } from "./audit-options.ts";
import { createCallQueue } from "./call-queue.ts";
import { isWorthKeeping, newRecordBuffer, roomIn } from "./record-buffer.ts";
import { createRefusalQueue } from "./refusal-queue.ts";
import { type AuditEvent, putOutcome } from "./serialise-record.ts";
import { type AuditCells, handOver, isBroken, sharedPlaces } from "./shared-places.ts";
import { takeOutcomes } from "./take-outcomes.ts";

/** A message costs both threads some 20 µs, so the records of several turns share one. It adds to the time in which a kill -9 loses them. */
const HAND_OVER_MS = 10;
/** So many records do not wait. */
const BIG_BATCH = 256;
const LINE_FEED = 0x0a;

/** What a worker hands over at once. */
export interface WorkerRecords {
  /** Records, each up to its sequence number and then a line feed, in the order in which their calls ended. These bytes are all of their
   *  memory, which nobody else uses: it may be given to another thread. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** How many of them hold a place of the calls' queue. */
  readonly calls: number;
  /** How many of them hold a place of the refusals' queue. */
  readonly refusals: number;
  /** Refusals beyond their queue, counted. */
  readonly folds: readonly AuditEvent[];
  /** How many refusals those counts stand for. */
  readonly folded: number;
  /** Records that found no place. */
  readonly dropped: number;
}

/** The audit log as the data plane of a worker thread sees it: the main thread numbers and writes. */
export interface WorkerAuditLog extends AuditLog {
  /** Hands over what waits, now. */
  flush(): void;
}

/** `post` is called after a few milliseconds, or by `flush`. */
export function createWorkerAuditLog(
  options: Pick<AuditOptions, "onFailure" | "queue" | "refusalsQueue">,
  cells: AuditCells,
  worker: number,
  clock: Clock,
  post: (records: WorkerRecords) => void,
): WorkerAuditLog {
  const block = options.onFailure === "block";
  const calls = createCallQueue(sharedPlaces(cells, "calls", options.queue, worker));
  const refusals = createRefusalQueue(sharedPlaces(cells, "refusals", options.refusalsQueue, worker));
  let gathered = newRecordBuffer();
  let callCount = 0;
  let refusalCount = 0;
  let dropped = 0;
  let foldedBefore = 0;
  let gathering = false;
  let cancelTimer: (() => void) | undefined;

  function append(outcome: CallOutcome): void {
    const bytes = roomIn(gathered);
    const end = putOutcome(bytes, gathered.length, outcome);
    bytes[end] = LINE_FEED;
    gathered.length = end + 1;
  }
  /** Serialises at the end of each turn, so that no outcome gets old enough for the garbage collector to promote it. */
  function gather(): void {
    gathering = false;
    for (let next = refusals.take(); next !== undefined; next = refusals.take()) {
      append(next);
      refusalCount++;
    }
    for (let next = calls.take(); next !== undefined; next = calls.take()) {
      append(next);
      callCount++;
    }
    if (callCount >= BIG_BATCH) hand();
    else cancelTimer ??= clock.after(HAND_OVER_MS, hand);
  }
  function hand(): void {
    cancelTimer?.();
    cancelTimer = undefined;
    const folds = refusals.takeFolds();
    const folded = refusals.folded - foldedBefore;
    if (gathered.length === 0 && folds.length === 0 && dropped === 0) return;
    const bytes = new Uint8Array(gathered.length);
    gathered.bytes.copy(bytes, 0, 0, gathered.length);
    post({ bytes, calls: callCount, refusals: refusalCount, folds, folded, dropped });
    handOver(cells, worker, callCount + refusalCount);
    foldedBefore = refusals.folded;
    gathered = newRecordBuffer(isWorthKeeping(gathered.bytes) ? gathered.bytes : undefined);
    callCount = 0;
    refusalCount = 0;
    dropped = 0;
  }
  function wake(): void {
    if (gathering) return;
    gathering = true;
    setImmediate(gather);
  }
  function drop(): void {
    dropped++;
    wake();
  }

  return {
    reserve() {
      if (block) return isBroken(cells) ? undefined : calls.reserve();
      return calls.reserve() ?? calls.overdraw();
    },
    ...takeOutcomes(calls, refusals, wake, drop),
    flush() {
      gather();
      hand();
    },
  };
}
