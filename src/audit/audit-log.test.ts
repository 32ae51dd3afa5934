import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Writable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { callOutcome, connectionContext } from "../../test/support/call-outcome.ts";
import { type FakeClock, fakeClock } from "../../test/support/fake-clock.ts";
import type { Clock } from "../core/clock.ts";
import type { CountersignError } from "../core/errors.ts";
import { type AuditState, createAuditLog, type RunningAuditLog } from "./audit-log.ts";
import type { AuditLogger, AuditOptions, FileSinkOptions } from "./audit-options.ts";

let folder: string;
let path: string;
let clock: FakeClock;
let logged: { level: string; event: unknown; fields: object }[];
let open: RunningAuditLog[];
const log: AuditLogger = {
  info: (fields) => logged.push({ level: "info", event: "event" in fields ? fields.event : "", fields }),
  warn: (fields) => logged.push({ level: "warn", event: "event" in fields ? fields.event : "", fields }),
  error: (fields) => logged.push({ level: "error", event: "event" in fields ? fields.event : "", fields }),
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "countersign-audit-"));
  path = join(folder, "audit.jsonl");
  clock = fakeClock();
  logged = [];
  open = [];
});
afterEach(async () => {
  for (const audit of open) {
    const closing = audit.close(1);
    clock.advance(10);
    await closing;
  }
  // a sink that was just closed may still be making its file
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 20 });
});

function fileSink(over: Partial<FileSinkOptions> = {}): FileSinkOptions {
  return { kind: "file", path, rotate: { sizeBytes: 0, ageMs: 0, keep: 3 }, fsync: "interval", ...over };
}
async function start(over: Partial<AuditOptions> = {}, stdout?: Writable): Promise<RunningAuditLog> {
  const options = { sinks: [fileSink()], onFailure: "block", queue: 8, refusalsQueue: 4, ...over } as const;
  const audit = createAuditLog(options, clock, log, stdout);
  open.push(audit);
  await audit.opened;
  return audit;
}
function call(audit: RunningAuditLog, id: string): boolean {
  const slot = audit.reserve();
  if (slot === undefined) return false;
  audit.complete(slot, callOutcome({ id }));
  return true;
}
function records(file = path): { id?: string; seq: number; reason: string; count?: number; kind: string }[] {
  return readFileSync(file, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}
function ids(file = path): (string | undefined)[] {
  return records(file).map((record) => record.id);
}
/** Resolves when a sink turns out to be broken. */
function broken(audit: RunningAuditLog): Promise<AuditState> {
  return new Promise((resolve) => {
    if (!audit.state.healthy) resolve(audit.state);
    audit.subscribe((state) => {
      if (!state.healthy) resolve(state);
    });
  });
}
/** Lets I/O go on and time with it, until the condition holds. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    clock.advance(10);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("records", () => {
  it("are with the kernel soon after the call without anybody asking", async () => {
    const realClock: Clock = {
      nowMs: () => Date.now(),
      monotonicMs: () => performance.now(),
      after(delayMs, fn) {
        const timer = setTimeout(fn, delayMs);
        return () => clearTimeout(timer);
      },
    };
    const audit = createAuditLog(
      { sinks: [fileSink()], onFailure: "block", queue: 8, refusalsQueue: 4 },
      realClock,
      log,
    );
    await audit.opened;
    const before = performance.now();
    const firstSeen = new Promise<number>((resolve) => {
      const look = (): void => {
        if (statSync(path).size > 0) resolve(performance.now() - before);
        else setImmediate(look);
      };
      look();
    });
    expect(call(audit, "a")).toBe(true);
    expect(await firstSeen).toBeGreaterThan(10);
    expect(ids()).toEqual(["a"]);
    await audit.close();
  });

  it("wait for the end of the interval, and for nothing when there are many", async () => {
    const audit = await start({ queue: 2000 });
    call(audit, "a");
    clock.advance(49);
    expect(audit.state.queued).toBe(1);
    expect(audit.state.seq).toBe(0);
    clock.advance(1);
    expect(audit.state.seq).toBe(1);
    await audit.flush();
    for (let i = 0; i < 512; i++) call(audit, `b${i}`);
    clock.advance(0);
    expect(audit.state.seq).toBe(513);
    await audit.flush();
    expect(records()).toHaveLength(513);
  });

  it("have rising numbers, a file of their own mode 0600, and free their places", async () => {
    const audit = await start();
    for (let i = 0; i < 30; i++) {
      expect(call(audit, `call-${i}`)).toBe(true);
      if (i % 8 === 7) await audit.flush();
    }
    await audit.flush();
    expect(records().map(({ seq }) => seq)).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(audit.state).toMatchObject({
      healthy: true,
      problem: undefined,
      queued: 0,
      written: 30,
      dropped: 0,
      seq: 30,
    });
    expect(audit.state.bytes).toBe(statSync(path).size);
  });

  it("of starts and progress go through the calls' queue", async () => {
    const audit = await start({ queue: 2 });
    const slot = audit.reserve();
    audit.note(callOutcome({ id: "a", phase: "start" }));
    audit.note(callOutcome({ id: "a", phase: "progress" }));
    expect(audit.state.dropped).toBe(1);
    await audit.flush();
    if (slot !== undefined) audit.complete(slot, callOutcome({ id: "a" }));
    await audit.flush();
    expect(records().map((r) => [r.id, r.reason])).toEqual([
      [undefined, "E_AUDIT_DROPPED"],
      ["a", "default"],
      ["a", "default"],
    ]);
  });

  it("of events that are no call are written too", async () => {
    const audit = await start();
    audit.event({ kind: "lifecycle", reason: "started" });
    await audit.flush();
    expect(records()).toEqual([expect.objectContaining({ kind: "lifecycle", reason: "started", seq: 1 })]);
  });
});

describe("slots", () => {
  it("are refused with block when the queue is full, reservations included", async () => {
    const audit = await start({ queue: 2 });
    const first = audit.reserve();
    const second = audit.reserve();
    expect(audit.reserve()).toBeUndefined();
    expect(audit.state).toMatchObject({ healthy: false, problem: "the audit queue is full (2 records)", queued: 2 });
    if (first === undefined || second === undefined) throw new Error("no slot");
    audit.release(first);
    expect(audit.reserve()).toBeDefined();
    audit.complete(second, callOutcome());
    expect(audit.reserve()).toBeUndefined();
    await audit.flush();
    expect(audit.reserve()).toBeDefined();
  });

  it("are never refused with drop, and what is missing is counted in a record", async () => {
    const audit = await start({ queue: 2, onFailure: "drop" });
    for (let i = 0; i < 7; i++) expect(call(audit, `call-${i}`)).toBe(true);
    expect(audit.state.dropped).toBe(5);
    await audit.flush();
    expect(records().map(({ id, reason, count }) => [id, reason, count])).toEqual([
      [undefined, "E_AUDIT_DROPPED", 5],
      ["call-0", "default", undefined],
      ["call-1", "default", undefined],
    ]);
    expect(logged.map(({ event }) => event)).toEqual(["audit.dropped"]);
    await audit.flush();
    expect(records()).toHaveLength(3);
  });

  it.each(["complete", "release"] as const)("cannot be used twice (%s)", async (second) => {
    for (const onFailure of ["block", "drop"] as const) {
      const audit = await start({ onFailure, queue: 1 });
      for (const slot of [audit.reserve(), audit.reserve()]) {
        if (slot === undefined) continue;
        audit.release(slot);
        expect(() => (second === "release" ? audit.release(slot) : audit.complete(slot, callOutcome()))).toThrow(
          TypeError,
        );
      }
      expect(audit.state.queued).toBe(0);
    }
  });
});

describe("refusals", () => {
  it("have their own queue, beyond which they are counted by listener and code", async () => {
    const audit = await start({ queue: 1, refusalsQueue: 2 });
    const refusal = (reason: string, listener = "web") =>
      callOutcome({ kind: "refusal", reason, connection: connectionContext({ listener }) });
    for (let i = 0; i < 5; i++) audit.refuse(refusal("E_A"));
    audit.refuse(refusal("E_B"));
    audit.refuse(refusal("E_A", "api"));
    expect(call(audit, "a call still finds its place")).toBe(true);
    await audit.flush();
    expect(
      records()
        .filter(({ kind }) => kind === "refusal")
        .map((r) => [r.reason, "listener" in r ? r.listener : "", r.count]),
    ).toEqual([
      ["E_A", "web", 3],
      ["E_B", "web", 1],
      ["E_A", "api", 1],
      ["E_A", "web", undefined],
      ["E_A", "web", undefined],
    ]);
    expect(audit.state.refusalsFolded).toBe(5);
  });

  it("of a flood with ever new codes take bounded memory and lose no count", async () => {
    const audit = await start({ refusalsQueue: 1 });
    for (let i = 0; i < 1000; i++) audit.refuse(callOutcome({ kind: "refusal", reason: `E_${i}` }));
    await audit.flush();
    const folds = records().filter(({ count }) => count !== undefined);
    expect(folds).toHaveLength(65);
    expect(folds.reduce((sum, { count = 0 }) => sum + count, 0)).toBe(999);
    expect(folds.find(({ reason }) => reason === "several")?.count).toBe(935);
  });
});

describe("a restart", () => {
  it("goes on numbering where the file ends", async () => {
    const first = await start();
    call(first, "a");
    call(first, "b");
    await first.close();
    const second = await start();
    call(second, "c");
    await second.flush();
    expect(records().map(({ id, seq }) => [id, seq])).toEqual([
      ["a", 1],
      ["b", 2],
      ["c", 3],
    ]);
  });

  it("ends a line that a crash cut off and says so", async () => {
    writeFileSync(path, '{"id":"a","seq":41}\n{"id":"b","se');
    const audit = await start();
    call(audit, "c");
    await audit.flush();
    const lines = readFileSync(path, "utf8").split("\n");
    expect(lines[1]).toBe('{"id":"b","se');
    expect(lines.slice(2, -1).map((line) => JSON.parse(line))).toMatchObject([
      { kind: "lifecycle", reason: "E_AUDIT_TORN_LINE", seq: 42 },
      { id: "c", seq: 43 },
    ]);
    expect(lines.at(-1)).toBe("");
  });

  it("keeps a whole record that lacks only its line feed", async () => {
    writeFileSync(path, '{"id":"a","seq":41}\n{"id":"b","seq":42}');
    const audit = await start();
    call(audit, "c");
    await audit.flush();
    expect(records().map(({ id, seq }) => [id, seq])).toEqual([
      ["a", 41],
      ["b", 42],
      ["c", 43],
    ]);
  });

  it("takes the number from the newest rotated file when the file is new", async () => {
    writeFileSync(`${path}.1`, '{"seq":7}\n');
    const audit = await start();
    call(audit, "a");
    await audit.flush();
    expect(records()).toMatchObject([{ id: "a", seq: 8 }]);
  });

  it("looks past foreign lines for the last number", async () => {
    writeFileSync(path, '{"seq":7}\nhello\n[1]\n{"seq":"x"}\n{"seq":\n');
    const audit = await start();
    call(audit, "a");
    await audit.flush();
    expect(readFileSync(path, "utf8")).toMatch(/"seq":8\}\n$/);
  });
});

describe("a broken sink", () => {
  it("refuses calls with block, says why, keeps the records, and recovers by itself", async () => {
    path = join(folder, "missing", "audit.jsonl");
    const audit = await start();
    const seen: boolean[] = [];
    audit.subscribe((state) => seen.push(state.healthy));
    expect(audit.state.healthy).toBe(false);
    expect(audit.state.problem).toContain("ENOENT");
    expect(audit.reserve()).toBeUndefined();
    audit.refuse(callOutcome({ kind: "refusal", id: "kept" }));
    mkdirSync(join(folder, "missing"));
    await until(() => audit.state.healthy);
    await audit.flush();
    expect(ids()).toEqual(["kept"]);
    expect(seen.at(-1)).toBe(true);
    expect(audit.reserve()).toBeDefined();
    expect(logged[0]).toMatchObject({ level: "error", event: "audit.sink_failed" });
    expect(logged.at(-1)).toMatchObject({ level: "info", event: "audit.sink_recovered" });
  });

  it("that is full (ENOSPC) counts as broken at the first record", async () => {
    const audit = await start({ sinks: [fileSink({ path: "/dev/full" })] });
    expect(call(audit, "a")).toBe(true);
    clock.advance(50);
    const state = await broken(audit);
    expect(state.problem).toContain("ENOSPC");
    expect(state.queued).toBe(1);
    expect(audit.reserve()).toBeUndefined();
    const closing = audit.close(100);
    clock.advance(100);
    await closing;
    expect(logged.at(-1)).toMatchObject({ level: "error", event: "audit.lost", fields: { records: 1 } });
  });

  it("of two makes both wait for it with block, while the other still gets every record", async () => {
    const audit = await start({ sinks: [fileSink(), fileSink({ path: "/dev/full" })] });
    expect(call(audit, "a")).toBe(true);
    clock.advance(50);
    await broken(audit);
    expect(audit.state.written).toBe(0);
    expect(audit.reserve()).toBeUndefined();
    audit.refuse(callOutcome({ kind: "refusal", id: "b" }));
    await until(() => ids().length === 2);
    expect(ids()).toEqual(["a", "b"]);
  });

  it("of two does not stop the other with drop", async () => {
    const audit = await start({ onFailure: "drop", queue: 4, sinks: [fileSink(), fileSink({ path: "/dev/full" })] });
    for (let i = 0; i < 40; i++) {
      expect(call(audit, `call-${i}`)).toBe(true);
      await until(() => ids().at(-1) === `call-${i}`);
    }
    expect(audit.state.healthy).toBe(false);
    expect(audit.state.dropped).toBeGreaterThan(30);
    expect(ids().filter((id) => id !== undefined)).toHaveLength(40);
    expect(records().filter(({ reason }) => reason === "E_AUDIT_DROPPED").length).toBeGreaterThan(0);
  });

  it("is one that is a symbolic link, which could lead the records elsewhere", async () => {
    writeFileSync(join(folder, "victim"), "");
    symlinkSync(join(folder, "victim"), path);
    const audit = await start();
    expect(audit.state.problem).toContain("ELOOP");
  });

  it("is one that is a folder", async () => {
    mkdirSync(path);
    expect((await start()).state.problem).toContain("EISDIR");
  });
});

describe("standard output", () => {
  it("gets the same lines as the file", async () => {
    const out = new PassThrough();
    const audit = await start({ sinks: [fileSink(), { kind: "stdout" }] }, out);
    call(audit, "a");
    await audit.flush();
    expect(String(out.read())).toBe(readFileSync(path, "utf8"));
  });

  it("that is read slowly makes the queue fill, and counts as broken when it takes nothing at all", async () => {
    let release: (() => void) | undefined;
    const out = new Writable({
      write(_chunk, _encoding, callback) {
        release = callback;
      },
    });
    const audit = await start({ sinks: [{ kind: "stdout" }], queue: 2 }, out);
    call(audit, "a");
    clock.advance(50);
    await Promise.resolve();
    expect(call(audit, "b")).toBe(true);
    expect(audit.reserve()).toBeUndefined();
    clock.advance(2000);
    expect(audit.state.problem).toBe("stdout has taken nothing for 2 s");
    const flushed = audit.flush();
    release?.();
    await until(() => audit.state.written === 1 && audit.state.seq === 2);
    release?.();
    await flushed;
    expect(audit.state).toMatchObject({ healthy: true, written: 2 });
  });

  it("whose reader went away (EPIPE) breaks for good, and neither crashes nor exits", async () => {
    const out = new Writable({
      write: (_chunk, _encoding, callback) => callback(Object.assign(new Error("write EPIPE"), { code: "EPIPE" })),
    });
    let exits = 0;
    out.on("error", () => exits++);
    const audit = await start({ sinks: [{ kind: "stdout" }] }, out);
    call(audit, "a");
    clock.advance(50);
    expect((await broken(audit)).problem).toBe("stdout: its reader went away (write EPIPE)");
    expect(exits).toBe(0);
    expect(audit.reserve()).toBeUndefined();
  });
});

describe("options", () => {
  it("refuse fsync always, which is not built yet", () => {
    const options = { sinks: [fileSink({ fsync: "always" })], onFailure: "block", queue: 1, refusalsQueue: 1 } as const;
    let code = "";
    try {
      createAuditLog(options, clock, log);
    } catch (error) {
      code = (error as CountersignError).code;
    }
    expect(code).toBe("E_CONFIG_UNSUPPORTED");
  });
  it("refuse no sink at all", () => {
    expect(() => createAuditLog({ sinks: [], onFailure: "drop", queue: 1, refusalsQueue: 1 }, clock, log)).toThrow(
      TypeError,
    );
  });
});

it("close takes no more calls and appends nothing to a file that others go on with", async () => {
  const audit = await start();
  call(audit, "a");
  await audit.close();
  expect(audit.reserve()).toBeUndefined();
  expect(audit.state.problem).toBe("the audit log is closed");
  appendFileSync(path, "next\n");
  clock.advance(10_000);
  expect(readFileSync(path, "utf8")).toMatch(/\}\nnext\n$/);
});
