import { Writable } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { callOutcome } from "../../test/support/call-outcome.ts";
import { fakeClock } from "../../test/support/fake-clock.ts";
import type { CallOutcome } from "../core/call-outcome.ts";
import { createAuditLog, type RunningAuditLog } from "./audit-log.ts";
import type { AuditOptions } from "./audit-options.ts";
import { createAuditCells, heldBy } from "./shared-places.ts";
import { createWorkerAuditLog, type WorkerAuditLog } from "./worker-audit-log.ts";

/** A sink that holds what it is given until it is told how the write ends. */
class HeldSink extends Writable {
  text = "";
  #callback: ((error?: Error) => void) | undefined;
  #held = false;
  override _write(chunk: Buffer, _: string, callback: (error?: Error) => void): void {
    this.text += chunk.toString();
    if (this.#held) this.#callback = callback;
    else callback();
  }
  hold(): void {
    this.#held = true;
  }
  release(): void {
    this.#held = false;
    this.#callback?.();
  }
}

interface Setup {
  readonly main: RunningAuditLog;
  readonly workers: readonly WorkerAuditLog[];
  readonly sink: HeldSink;
  readonly held: (worker: number) => number;
  /** Lets the workers hand over, and the main thread write. */
  readonly settle: () => Promise<void>;
}

async function start(over: Partial<AuditOptions> = {}): Promise<Setup> {
  const options = { sinks: [{ kind: "stdout" }], onFailure: "block", queue: 4, refusalsQueue: 2, ...over } as const;
  const cells = createAuditCells(2);
  const sink = new HeldSink();
  const clock = fakeClock();
  const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const main = createAuditLog(options, clock, silent, sink, cells);
  await main.opened;
  // as a message would: its bytes given away, the rest cloned, and in a later turn
  const workers = [0, 1].map((worker) =>
    createWorkerAuditLog(options, cells, worker, clock, (records) => {
      const clone = structuredClone(records, { transfer: [records.bytes.buffer] });
      setImmediate(() => main.addRecords(clone));
    }),
  );
  return {
    main,
    workers,
    sink,
    held: (worker) => heldBy(cells, worker),
    async settle() {
      for (let i = 0; i < 6; i++) {
        await turn();
        clock.advance(100);
      }
    },
  };
}
function worker({ workers }: Setup, index: number): WorkerAuditLog {
  const found = workers[index];
  if (found === undefined) throw new TypeError("there are two workers");
  return found;
}
function call(log: WorkerAuditLog, id: string, over: Partial<CallOutcome> = {}): boolean {
  const slot = log.reserve();
  if (slot === undefined) return false;
  log.complete(slot, callOutcome({ id, ...over }));
  return true;
}
const records = ({ sink }: Setup): { seq: number; id?: string; reason?: string; count?: number }[] =>
  sink.text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as { seq: number });

describe("the audit log of several workers", () => {
  it("numbers the records of all of them without a gap, each worker's in its order", async () => {
    const setup = await start();
    for (const index of [0, 1]) for (const n of [1, 2]) expect(call(worker(setup, index), `${index}-${n}`)).toBe(true);
    await setup.settle();
    const found = records(setup);
    expect(found.map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
    expect(found.map(({ id }) => id)).toEqual(["0-1", "0-2", "1-1", "1-2"]);
    expect(setup.main.state).toMatchObject({ queued: 0, written: 4, seq: 4, healthy: true });
  });

  it("gives both together no more places than the queue has, until the sink has the records", async () => {
    const setup = await start();
    setup.sink.hold();
    expect([0, 1, 0, 1].map((index) => call(worker(setup, index), "x"))).toEqual([true, true, true, true]);
    expect([0, 1].map((index) => worker(setup, index).reserve())).toEqual([undefined, undefined]);
    await setup.settle();
    expect(setup.main.state).toMatchObject({ queued: 4, written: 0, healthy: false });
    expect([0, 1].map((index) => worker(setup, index).reserve())).toEqual([undefined, undefined]);
    setup.sink.release();
    await setup.settle();
    expect(setup.main.state).toMatchObject({ queued: 0, written: 4, healthy: true });
    expect(call(worker(setup, 1), "again")).toBe(true);
  });

  it("gives a place back that a call did not use, and says what a worker holds without having handed it over", async () => {
    const setup = await start({ queue: 1 });
    const slot = worker(setup, 0).reserve();
    if (slot === undefined) throw new Error("the queue is empty");
    expect([setup.held(0), setup.held(1), worker(setup, 1).reserve()]).toEqual([1, 0, undefined]);
    worker(setup, 0).release(slot);
    expect([setup.held(0), call(worker(setup, 1), "y"), setup.held(1)]).toEqual([0, true, 1]);
    await setup.settle();
    expect(setup.held(1)).toBe(0);
  });

  it("hands over many records at once, and all of them when the worker ends", async () => {
    const handed: number[] = [];
    const cells = createAuditCells(1);
    const options = { onFailure: "block", queue: 1000, refusalsQueue: 1 } as const;
    const log = createWorkerAuditLog(options, cells, 0, fakeClock(), ({ calls }) => handed.push(calls));
    for (let i = 0; i < 300; i++) call(log, `${i}`);
    await turn();
    expect(handed).toEqual([300]);
    call(log, "last");
    log.flush();
    log.flush();
    expect([handed, heldBy(cells, 0)]).toEqual([[300, 1], 0]);
  });

  it("counts refusals beyond their common places, and keeps the calls' places for calls", async () => {
    const setup = await start();
    for (const index of [0, 1, 0, 1, 1])
      worker(setup, index).refuse(callOutcome({ kind: "refusal", decision: "deny", reason: "E_TLS_HANDSHAKE" }));
    expect(call(worker(setup, 0), "call")).toBe(true);
    await setup.settle();
    const found = records(setup);
    const counted = found.reduce((sum, { count = 0 }) => sum + count, 0);
    expect(found.filter(({ reason, count }) => reason === "E_TLS_HANDSHAKE" && count === undefined)).toHaveLength(2);
    expect(counted).toBe(3);
    expect(setup.main.state.refusalsFolded).toBe(3);
  });

  it("with onFailure drop lets calls go on without a place, and counts what is missing", async () => {
    const setup = await start({ onFailure: "drop", queue: 2 });
    setup.sink.hold();
    for (const index of [0, 1, 0, 1]) expect(call(worker(setup, index), "z")).toBe(true);
    await setup.settle();
    setup.sink.release();
    await setup.settle();
    expect(setup.main.state).toMatchObject({ dropped: 2, queued: 0 });
    expect(records(setup).filter(({ reason }) => reason === "E_AUDIT_DROPPED")).toMatchObject([{ count: 2 }]);
  });

  it("blocks calls everywhere while a sink is broken", async () => {
    const cells = createAuditCells(1);
    const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };
    const options = {
      sinks: [
        {
          kind: "file" as const,
          path: "/nowhere/at/all.jsonl",
          rotate: { sizeBytes: 0, ageMs: 0, keep: 1 },
          fsync: "never" as const,
        },
      ],
      onFailure: "block" as const,
      queue: 4,
      refusalsQueue: 2,
    };
    const main = createAuditLog(options, fakeClock(), silent, process.stdout, cells);
    await main.opened;
    const log = createWorkerAuditLog(options, cells, 0, fakeClock(), (handed) => main.addRecords(handed));
    expect([main.state.healthy, log.reserve()]).toEqual([false, undefined]);
    await main.close(0);
  });
});
