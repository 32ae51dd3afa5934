import type { CallOutcome } from "../core/call-outcome.ts";
import type { Clock } from "../core/clock.ts";
import type { AuditLogger } from "./audit-options.ts";
import type { CallQueue } from "./call-queue.ts";
import { isWorthKeeping, newRecordBuffer, roomIn } from "./record-buffer.ts";
import type { RefusalQueue } from "./refusal-queue.ts";
import { type AuditEvent, putEnd, putEvent, putOutcome } from "./serialise-record.ts";
import type { Sink } from "./sink.ts";
import { type Batch, type SinkWriter, startSinkWriter } from "./sink-writer.ts";
import type { WorkerRecords } from "./worker-audit-log.ts";

/** Calls in one batch: bounds how long serialising holds the event loop (about half a microsecond a record). */
const MAX_BATCH_CALLS = 1024;
const MAX_EVENTS = 1000;
const LINE_FEED = 0x0a;
/** The longest that a sequence number adds to a record. */
const SEQ_BYTES_MAX = 32;

/** Turns what waits in the queues into batches and brings each batch to every sink. */
export interface AuditBatches {
  readonly opened: Promise<void>;
  /** Of the sinks: the first that is broken. */
  readonly problem: string | undefined;
  readonly written: number;
  readonly bytes: number;
  readonly dropped: number;
  readonly seq: number;
  /** There is something that no batch holds yet. */
  readonly waiting: boolean;
  /** Records that some sink lacks: waiting or being written. */
  readonly unwritten: number;
  sinkStates(): { readonly name: string; readonly problem: string | undefined }[];
  addEvent(event: AuditEvent): void;
  /** Takes in what a worker thread has serialised. */
  addRecords(records: WorkerRecords): void;
  /** Counts a record that found no place. */
  drop(): void;
  /** While one sink works, a broken one must not make it lose records too: what waits for the broken one is given up and
   *  counted as dropped. */
  shedBroken(): void;
  /** Calls that are serialised or wait to be, and that no batch holds yet. */
  readonly callsWaiting: number;
  /** Serialises what waits, at the end of an event-loop turn: an outcome that lived until the batch is sent would be old enough for
   *  the garbage collector to promote it, and thousands of them double the process's memory. */
  gather(): void;
  /** Makes a batch of what waits, unless every sink is busy: then the one that becomes free leads to the next `send`. */
  send(): void;
  /** Resolves when nothing waits and nothing is being written. */
  drain(): Promise<void>;
  kick(): void;
  close(): Promise<void>;
}

export function createAuditBatches(parts: {
  readonly calls: CallQueue;
  readonly refusals: RefusalQueue;
  readonly sinks: readonly Sink[];
  readonly clock: Clock;
  readonly log: AuditLogger;
  readonly lastSeq: number;
  /** A batch is with every sink, or a sink has become free. */
  readonly onWritten: () => void;
  readonly onHealth: () => void;
}): AuditBatches {
  const { calls, refusals, clock, log } = parts;
  let events: AuditEvent[] = [];
  let seq = parts.lastSeq;
  let written = 0;
  let bytes = 0;
  let dropped = 0;
  let droppedReported = 0;
  let recordsInBatches = 0;
  let othersInBatches = 0;
  let spare: Buffer | undefined;
  /** Serialised records on their way into a batch. */
  let gathered = newRecordBuffer();
  let gatheredCalls = 0;
  let gatheredRefusals = 0;
  let gatheredOthers = 0;
  /** Of worker threads, not gathered yet. */
  const fromWorkers: WorkerRecords[] = [];
  let recordsFromWorkers = 0;
  let drained: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;
  const writers = parts.sinks.map((sink) => startSinkWriter(sink, clock, { written: onBatch, health: onSinkHealth }));

  function onBatch(batch: Batch): void {
    batch.missing--;
    if (batch.missing === 0) {
      const records = batch.calls + batch.refusals + batch.others;
      calls.free(batch.calls);
      refusals.free(batch.refusals);
      recordsInBatches -= records;
      othersInBatches -= batch.others;
      written += records;
      bytes += batch.length;
      if (isWorthKeeping(batch.bytes)) spare = batch.bytes;
    }
    if (drained !== undefined) {
      send();
      if (isIdle()) {
        drained.resolve();
        drained = undefined;
      }
    }
    parts.onWritten();
  }
  function onSinkHealth(writer: SinkWriter): void {
    if (writer.problem === undefined)
      log.info({ event: "audit.sink_recovered", sink: writer.name }, "the audit sink works again");
    else
      log.error(
        { event: "audit.sink_failed", code: "E_AUDIT_SINK", sink: writer.name, problem: writer.problem },
        "the audit sink is broken",
      );
    parts.onHealth();
  }
  function hasDrops(): boolean {
    return dropped > droppedReported;
  }
  function isWaiting(): boolean {
    return (
      gathered.length > 0 ||
      calls.waiting > 0 ||
      fromWorkers.length > 0 ||
      refusals.waiting > 0 ||
      refusals.hasFolds ||
      events.length > 0 ||
      hasDrops()
    );
  }
  function isIdle(): boolean {
    return recordsInBatches === 0 && !isWaiting();
  }
  function appendOutcome(outcome: CallOutcome): void {
    const bytes = roomIn(gathered);
    seq++;
    gathered.length = putEnd(bytes, putOutcome(bytes, gathered.length, outcome), seq);
  }
  function appendRecords({ bytes, calls: callCount, refusals: refusalCount }: WorkerRecords): void {
    const records = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const to = roomIn(gathered, records.length + (callCount + refusalCount) * SEQ_BYTES_MAX);
    let start = 0;
    for (let end = records.indexOf(LINE_FEED); end !== -1; end = records.indexOf(LINE_FEED, start)) {
      seq++;
      const at = gathered.length + records.copy(to, gathered.length, start, end);
      gathered.length = putEnd(to, at, seq);
      start = end + 1;
    }
    gatheredCalls += callCount;
    gatheredRefusals += refusalCount;
    recordsFromWorkers -= callCount + refusalCount;
  }
  /** Events, and counts of what has no record of its own. They wait while a broken sink holds too many of them. */
  function takeEvents(): AuditEvent[] {
    if (othersInBatches + gatheredOthers >= MAX_EVENTS) return [];
    const counts = [...events, ...refusals.takeFolds()];
    events = [];
    if (hasDrops()) {
      const count = dropped - droppedReported;
      droppedReported = dropped;
      counts.push({ kind: "lifecycle", reason: "E_AUDIT_DROPPED", count, detail: `${count} records are missing` });
      log.warn({ event: "audit.dropped", code: "E_AUDIT_DROPPED", count }, "audit records were dropped");
    }
    return counts;
  }
  function gather(): void {
    if (events.length > 0 || refusals.hasFolds || hasDrops()) {
      for (const event of takeEvents()) {
        seq++;
        gathered.length = putEvent(roomIn(gathered), gathered.length, event, clock.nowMs(), seq);
        gatheredOthers++;
      }
    }
    for (let next = refusals.take(); next !== undefined; next = refusals.take()) {
      appendOutcome(next);
      gatheredRefusals++;
    }
    while (gatheredCalls < MAX_BATCH_CALLS) {
      const next = calls.take();
      if (next === undefined) break;
      appendOutcome(next);
      gatheredCalls++;
    }
    while (gatheredCalls < MAX_BATCH_CALLS) {
      const next = fromWorkers.shift();
      if (next === undefined) break;
      appendRecords(next);
    }
  }
  function send(): void {
    if (!isWaiting() || writers.every((writer) => writer.pending > 0)) return;
    gather();
    if (gathered.length === 0) return;
    const batch: Batch = {
      bytes: gathered.bytes,
      length: gathered.length,
      calls: gatheredCalls,
      refusals: gatheredRefusals,
      others: gatheredOthers,
      missing: writers.length,
    };
    recordsInBatches += gatheredCalls + gatheredRefusals + gatheredOthers;
    othersInBatches += gatheredOthers;
    gathered = newRecordBuffer(spare);
    spare = undefined;
    gatheredCalls = 0;
    gatheredRefusals = 0;
    gatheredOthers = 0;
    for (const writer of writers) writer.add(batch);
  }
  function shedBroken(): void {
    if (!writers.some((writer) => writer.problem === undefined)) return;
    for (const writer of writers) {
      if (writer.problem === undefined) continue;
      for (const batch of writer.shed()) {
        dropped += batch.calls + batch.refusals + batch.others;
        onBatch(batch);
      }
    }
  }
  return {
    opened: Promise.all(writers.map((writer) => writer.tried)).then(() => undefined),
    get problem() {
      for (const writer of writers) if (writer.problem !== undefined) return writer.problem;
      return undefined;
    },
    get written() {
      return written;
    },
    get bytes() {
      return bytes;
    },
    get dropped() {
      return dropped;
    },
    get seq() {
      return seq;
    },
    get waiting() {
      return isWaiting();
    },
    get unwritten() {
      const gatheredRecords = gatheredCalls + gatheredRefusals + gatheredOthers;
      return recordsInBatches + gatheredRecords + calls.waiting + recordsFromWorkers + refusals.waiting + events.length;
    },
    sinkStates: () => writers.map(({ name, problem }) => ({ name, problem })),
    addEvent(event) {
      if (events.length < MAX_EVENTS) events.push(event);
      else dropped++;
    },
    addRecords(records) {
      fromWorkers.push(records);
      recordsFromWorkers += records.calls + records.refusals;
      dropped += records.dropped;
    },
    drop() {
      dropped++;
    },
    shedBroken,
    get callsWaiting() {
      return gatheredCalls + calls.waiting + recordsFromWorkers;
    },
    gather,
    send,
    drain() {
      send();
      if (isIdle()) return Promise.resolve();
      drained ??= Promise.withResolvers<void>();
      return drained.promise;
    },
    kick() {
      for (const writer of writers) writer.kick();
    },
    async close() {
      await Promise.all(writers.map((writer) => writer.close()));
    },
  };
}
