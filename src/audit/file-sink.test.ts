import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type FakeClock, fakeClock } from "../../test/support/fake-clock.ts";
import { type AuditFs, nodeFs } from "./append-file.ts";
import type { FileSinkOptions } from "./audit-options.ts";
import { createFileSink } from "./file-sink.ts";
import type { Sink } from "./sink.ts";

let folder: string;
let path: string;
let clock: FakeClock;
let problems: object[];
const log = { info: () => {}, warn: () => {}, error: (fields: object) => problems.push(fields) };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "countersign-file-sink-"));
  path = join(folder, "audit.jsonl");
  clock = fakeClock();
  problems = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function sinkOf(over: Partial<FileSinkOptions["rotate"]> = {}, fs: AuditFs = nodeFs): Sink {
  const rotate = { sizeBytes: 0, ageMs: 0, keep: 2, ...over };
  return createFileSink({ kind: "file", path, rotate, fsync: "interval" }, clock, log, fs);
}
function put(sink: Sink, text: string): Promise<void> {
  const bytes = Buffer.from(text);
  return sink.write(bytes, bytes.length);
}
const content = (file = path): string => readFileSync(file, "utf8");

/** A disk on which each write may be told to stop after some bytes, or to fail. */
function failingFs(next: () => number | Error): AuditFs {
  return {
    ...nodeFs,
    open: (async (...args: Parameters<typeof nodeFs.open>) => {
      const handle = await nodeFs.open(...args);
      const write = handle.write.bind(handle) as (b: Buffer, o: number, l: number, p: null) => Promise<unknown>;
      handle.write = ((bytes: Buffer, offset: number, length: number) => {
        const outcome = next();
        if (outcome instanceof Error) return Promise.reject(outcome);
        return write(bytes, offset, Math.min(length, outcome), null);
      }) as FileHandle["write"];
      return handle;
    }) as AuditFs["open"],
  };
}
const noSpace = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });

describe("rotation", () => {
  it("by size keeps whole batches together and no more than `keep` old files", async () => {
    const sink = sinkOf({ sizeBytes: 10 });
    for (const text of ["aaaa\n", "bbbb\n", "cccc\n", "a line longer than a file may be\n", "dddd\n", "eeee\n"])
      await put(sink, text);
    await sink.close();
    expect(readdirSync(folder).sort()).toEqual(["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]);
    expect(content()).toBe("dddd\neeee\n");
    expect(content(`${path}.1`)).toBe("a line longer than a file may be\n");
    expect(content(`${path}.2`)).toBe("cccc\n");
  });

  it("by age counts from the file's first record, also after a restart", async () => {
    const startedMs = clock.nowMs() - 5000;
    writeFileSync(path, `{"time":"${new Date(startedMs).toISOString()}"}\n`);
    const sink = sinkOf({ ageMs: 6000 });
    await put(sink, "young\n");
    expect(existsSync(`${path}.1`)).toBe(false);
    clock.advance(1000);
    await put(sink, "new file\n");
    expect(content()).toBe("new file\n");
    expect(content(`${path}.1`)).toMatch(/young\n$/);
    await sink.close();
  });

  it("with keep 0 starts anew and keeps nothing", async () => {
    const sink = sinkOf({ sizeBytes: 5, keep: 0 });
    await put(sink, "aaaa\n");
    await put(sink, "bbbb\n");
    expect(readdirSync(folder)).toEqual(["audit.jsonl"]);
    expect(content()).toBe("bbbb\n");
    await sink.close();
  });

  it("that fails is reported, and the file grows on until a later try", async () => {
    const denied = Object.assign(new Error("EACCES"), { code: "EACCES" });
    let fail = true;
    const fs: AuditFs = { ...nodeFs, rename: (a, b) => (fail ? Promise.reject(denied) : nodeFs.rename(a, b)) };
    const sink = sinkOf({ sizeBytes: 5 }, fs);
    await put(sink, "aaaa\n");
    await put(sink, "bbbb\n");
    await put(sink, "cccc\n");
    expect(content()).toBe("aaaa\nbbbb\ncccc\n");
    expect(problems).toEqual([expect.objectContaining({ event: "audit.rotate_failed", path })]);
    fail = false;
    clock.advance(60_000);
    await put(sink, "dddd\n");
    expect(content()).toBe("dddd\n");
    await sink.close();
  });

  it("never moves a file that somebody else put at the path", async () => {
    const sink = sinkOf({ sizeBytes: 5 });
    await put(sink, "aaaa\n");
    renameSync(path, join(folder, "moved"));
    writeFileSync(path, "other\n");
    await put(sink, "bbbb\n");
    expect(existsSync(`${path}.1`)).toBe(false);
    expect(content()).toBe("other\nbbbb\n");
    await sink.close();
  });
});

describe("a file that goes away", () => {
  it("by renaming is followed within a second", async () => {
    const sink = sinkOf();
    await put(sink, "a\n");
    renameSync(path, join(folder, "moved"));
    await put(sink, "still the old one\n");
    clock.advance(1000);
    await put(sink, "b\n");
    expect(content(join(folder, "moved"))).toBe("a\nstill the old one\n");
    expect(content()).toBe("b\n");
    await sink.close();
  });

  it("by deletion loses no record written afterwards", async () => {
    const sink = sinkOf();
    await put(sink, "a\n");
    rmSync(path);
    await put(sink, "b\n");
    expect(content()).toBe("b\n");
    await sink.close();
  });

  it("by truncation is written on", async () => {
    const sink = sinkOf({ sizeBytes: 100 });
    await put(sink, `${"a".repeat(98)}\n`);
    truncateSync(path, 0);
    clock.advance(1000);
    await put(sink, "b\n");
    expect(content()).toBe("b\n");
    expect(existsSync(`${path}.1`)).toBe(false);
    await sink.close();
  });
});

describe("a full disk", () => {
  it("in the middle of a batch leaves no byte twice and none out", async () => {
    const outcomes: (number | Error)[] = [3, 1, noSpace, noSpace, 4];
    const sink = sinkOf(
      {},
      failingFs(() => outcomes.shift() ?? Number.MAX_SAFE_INTEGER),
    );
    const text = "first line\nsecond line\n";
    await expect(put(sink, text)).rejects.toThrow("ENOSPC");
    expect(content()).toBe("firs");
    await expect(put(sink, text)).rejects.toThrow("ENOSPC");
    await put(sink, text);
    expect(content()).toBe(text);
    await put(sink, "third line\n");
    expect(content()).toBe(`${text}third line\n`);
    await sink.close();
  });

  it("that ends by moving the file away goes on with a whole line in the new one", async () => {
    const outcomes: (number | Error)[] = [15, noSpace];
    const sink = sinkOf(
      {},
      failingFs(() => outcomes.shift() ?? Number.MAX_SAFE_INTEGER),
    );
    const text = "first line\nsecond line\n";
    await expect(put(sink, text)).rejects.toThrow("ENOSPC");
    renameSync(path, join(folder, "moved"));
    clock.advance(1000);
    await put(sink, text);
    expect(content(join(folder, "moved"))).toBe("first line\nseco");
    expect(content()).toBe("second line\n");
    await sink.close();
  });

  it("that ends by deleting the file writes the whole batch again", async () => {
    const outcomes: (number | Error)[] = [15, noSpace];
    const sink = sinkOf(
      {},
      failingFs(() => outcomes.shift() ?? Number.MAX_SAFE_INTEGER),
    );
    const text = "first line\nsecond line\n";
    await expect(put(sink, text)).rejects.toThrow("ENOSPC");
    rmSync(path);
    await put(sink, text);
    expect(content()).toBe(text);
    await sink.close();
  });

  it("noticed by fsync is reported with the next write and then retried", async () => {
    let fail = true;
    const fs: AuditFs = {
      ...nodeFs,
      open: (async (...args: Parameters<typeof nodeFs.open>) => {
        const handle = await nodeFs.open(...args);
        const datasync = handle.datasync.bind(handle);
        handle.datasync = () => (fail ? Promise.reject(new Error("EIO: i/o error, fdatasync")) : datasync());
        return handle;
      }) as AuditFs["open"],
    };
    const sink = sinkOf({}, fs);
    await put(sink, "a\n");
    clock.advance(1000);
    await new Promise((resolve) => setImmediate(resolve));
    await expect(put(sink, "b\n")).rejects.toThrow("EIO");
    fail = false;
    await put(sink, "b\n");
    expect(content()).toBe("a\nb\n");
    await sink.close();
  });
});

it("ends a foreign last line before it appends", async () => {
  writeFileSync(path, "torn");
  const sink = sinkOf();
  await put(sink, "a\n");
  expect(content()).toBe("torn\na\n");
  await sink.close();
});
