import type { Writable } from "node:stream";
import type { AuditLog } from "../core/audit-log.ts";
import type { Clock } from "../core/clock.ts";
import { CountersignError } from "../core/errors.ts";
import { createAuditBatches } from "./audit-batches.ts";
import type { AuditLogger, AuditOptions } from "./audit-options.ts";
import { createCallQueue } from "./call-queue.ts";
import { createFileSink } from "./file-sink.ts";
import { createPlaces } from "./places.ts";
import { createRefusalQueue } from "./refusal-queue.ts";
import { readResumePoint } from "./resume-file.ts";
import type { AuditEvent } from "./serialise-record.ts";
import { type AuditCells, setBroken, sharedPlaces } from "./shared-places.ts";
import type { Sink } from "./sink.ts";
import { createStdoutSink } from "./stdout-sink.ts";
import { takeOutcomes } from "./take-outcomes.ts";
import type { WorkerRecords } from "./worker-audit-log.ts";

/** A call that was answered 200 ms before a kill -9 has its record: this, a write, and a busy event loop fit in. */
const FLUSH_MS = 50;
/** So many waiting records are written at once instead of at the end of the interval. */
const BIG_BATCH = 512;
const CLOSE_DEADLINE_MS = 5000;

export interface AuditState {
  /** Every sink works, the queue has room, and the log is not closed. */
  readonly healthy: boolean;
  /** Why it is not healthy, one line for people. */
  readonly problem: string | undefined;
  readonly onFailure: "block" | "drop";
  readonly capacity: number;
  /** Places taken: reserved by calls under way, waiting, or being written. */
  readonly queued: number;
  /** Records that every sink has. */
  readonly written: number;
  /** Bytes of those records. */
  readonly bytes: number;
  /** Records that are missing from at least one sink (`drop`, or notes of long calls while the queue was full). */
  readonly dropped: number;
  /** Refusals that are in counted records instead of their own. */
  readonly refusalsFolded: number;
  /** Sequence number of the newest record. */
  readonly seq: number;
  readonly sinks: readonly { readonly name: string; readonly problem: string | undefined }[];
}

export interface RunningAuditLog extends AuditLog {
  /** A snapshot, made anew at each access. */
  readonly state: AuditState;
  /** Resolves when each sink was tried once: from then on `state.healthy` is the truth. Never rejects. */
  readonly opened: Promise<void>;
  /** Record of something that is no call: start and stop, a new SVID, a new policy. Never fails. */
  event(event: AuditEvent): void;
  /** Numbers and writes what a worker thread hands over. Its records have places already. */
  addRecords(records: WorkerRecords): void;
  /** Resolves when everything handed over so far was written by every sink; a broken sink makes it wait. */
  flush(): Promise<void>;
  /** Takes no more calls, flushes for at most `deadlineMs` (default 5000), says in the log what is lost, closes the sinks. */
  close(deadlineMs?: number): Promise<void>;
  /** Called when a sink breaks or works again. Returns the unsubscribe function. */
  subscribe(listener: (state: AuditState) => void): () => void;
}

/** Starts the audit log of one process. Opens the sinks in the background: one that cannot be opened makes the log
 *  unhealthy and is retried. `cells`: shared with worker threads, which take the places; absent: this thread takes them.
 *  Throws CountersignError E_CONFIG_UNSUPPORTED for `fsync: always`, TypeError without sinks. */
export function createAuditLog(
  options: AuditOptions,
  clock: Clock,
  log: AuditLogger,
  stdout: Writable = process.stdout,
  cells?: AuditCells,
): RunningAuditLog {
  if (options.sinks.length === 0) throw new TypeError("the audit log needs at least one sink");
  const block = options.onFailure === "block";
  const { queue, refusalsQueue } = options;
  const calls = createCallQueue(cells === undefined ? createPlaces(queue) : sharedPlaces(cells, "calls", queue));
  const refusals = createRefusalQueue(
    cells === undefined ? createPlaces(refusalsQueue) : sharedPlaces(cells, "refusals", refusalsQueue),
  );
  /** Refusals that worker threads have counted instead of listing them. */
  let foldedByWorkers = 0;
  const listeners = new Set<(state: AuditState) => void>();
  let cancelTimer: (() => void) | undefined;
  let urgent = false;
  let gathering = false;
  let closed = false;

  const sinks: Sink[] = [];
  let lastSeq = 0;
  const torn: AuditEvent[] = [];
  for (const sink of options.sinks) {
    if (sink.kind === "stdout") {
      sinks.push(createStdoutSink(stdout));
      continue;
    }
    if (sink.fsync === "always")
      throw new CountersignError("E_CONFIG_UNSUPPORTED", "audit fsync: always is not built yet", {
        fix: "write fsync: interval",
      });
    const end = readResumePoint(sink.path);
    lastSeq = Math.max(lastSeq, end.lastSeq);
    if (end.tornBytes > 0)
      torn.push({
        kind: "lifecycle",
        reason: "E_AUDIT_TORN_LINE",
        detail: `the last line of ${sink.path} was cut off after ${end.tornBytes} bytes and has been ended`,
      });
    sinks.push(createFileSink(sink, clock, log));
  }

  const batches = createAuditBatches({ calls, refusals, sinks, clock, log, lastSeq, onWritten, onHealth });

  function gatherNow(): void {
    gathering = false;
    batches.gather();
  }
  function onTimer(): void {
    cancelTimer = undefined;
    urgent = false;
    batches.send();
  }
  /** Sees to it that what waits is sent soon. Costs a comparison when that is already so. */
  function wake(): void {
    if (!gathering) {
      gathering = true;
      setImmediate(gatherNow);
    }
    if (cancelTimer === undefined) {
      cancelTimer = clock.after(FLUSH_MS, onTimer);
    } else if (!urgent && batches.callsWaiting >= BIG_BATCH) {
      urgent = true;
      cancelTimer();
      cancelTimer = clock.after(0, onTimer);
    }
  }
  function onWritten(): void {
    if (batches.waiting && cancelTimer === undefined) wake();
  }
  function onHealth(): void {
    if (cells !== undefined) setBroken(cells, batches.problem !== undefined);
    const { state } = running;
    for (const listener of listeners) listener(state);
  }
  function drop(): void {
    batches.drop();
    wake();
  }

  const running: RunningAuditLog = {
    opened: batches.opened,
    get state() {
      const problem = closed ? "the audit log is closed" : (batches.problem ?? fullProblem());
      return {
        healthy: problem === undefined,
        problem,
        onFailure: options.onFailure,
        capacity: calls.capacity,
        queued: calls.used,
        written: batches.written,
        bytes: batches.bytes,
        dropped: batches.dropped,
        refusalsFolded: refusals.folded + foldedByWorkers,
        seq: batches.seq,
        sinks: batches.sinkStates(),
      };
    },
    reserve() {
      if (block) return closed || batches.problem !== undefined ? undefined : calls.reserve();
      const slot = calls.reserve();
      if (slot !== undefined) return slot;
      batches.shedBroken();
      return calls.reserve() ?? calls.overdraw();
    },
    ...takeOutcomes(calls, refusals, wake, drop),
    event(event) {
      batches.addEvent(event);
      wake();
    },
    addRecords(records) {
      for (const fold of records.folds) batches.addEvent(fold);
      foldedByWorkers += records.folded;
      batches.addRecords(records);
      if (records.dropped > 0) batches.shedBroken();
      wake();
    },
    async flush() {
      cancelTimer?.();
      cancelTimer = undefined;
      await batches.drain();
    },
    async close(deadlineMs = CLOSE_DEADLINE_MS) {
      if (closed) return;
      closed = true;
      const deadline = Promise.withResolvers<void>();
      const cancelDeadline = clock.after(deadlineMs, deadline.resolve);
      batches.kick();
      await Promise.race([running.flush(), deadline.promise]);
      await Promise.race([batches.close(), deadline.promise]);
      cancelDeadline();
      cancelTimer?.();
      const lost = batches.unwritten;
      if (lost > 0)
        log.error({ event: "audit.lost", records: lost, problem: batches.problem }, "audit records were not written");
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  function fullProblem(): string | undefined {
    return calls.used >= calls.capacity ? `the audit queue is full (${calls.capacity} records)` : undefined;
  }
  for (const event of torn) running.event(event);
  return running;
}
