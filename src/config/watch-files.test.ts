import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type FakeClock, fakeClock } from "../../test/support/fake-clock.ts";
import { readPolicyFiles } from "./policy-source.ts";
import { type FilesChange, type FilesWatch, watchConfigFile, watchPolicyFiles } from "./watch-files.ts";

let root: string;
let stop: AbortController;
let clock: FakeClock;
let changes: FilesChange[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "countersign-watch-"));
  stop = new AbortController();
  clock = fakeClock();
  changes = [];
});
afterEach(() => {
  stop.abort();
  rmSync(root, { recursive: true, force: true });
});

const write = (name: string, text: string): void => writeFileSync(join(root, name), text);
const onChange = (change: FilesChange): void => void changes.push(change);

/** Starts to watch the folder p as it is now. */
async function watchFolder(): Promise<FilesWatch> {
  const paths = [{ path: join(root, "p"), at: { file: "c.yaml" } }];
  const watch = watchPolicyFiles(paths, {
    initial: await readPolicyFiles(paths),
    clock,
    onChange,
    signal: stop.signal,
  });
  await timers(1); // the poll
  return watch;
}

/** Waits until the watch waits for the clock: its poll alone, or its poll and the wait between two reads. */
const timers = (count: number): Promise<void> =>
  vi.waitFor(() => expect(clock.pending).toBe(count), { interval: 2, timeout: 5000 });
const reports = (count: number): Promise<void> =>
  vi.waitFor(() => expect(changes).toHaveLength(count), { interval: 2, timeout: 5000 });
const texts = (index: number): unknown => {
  const change = changes[index];
  return change?.kind === "read" ? change.files.map(({ text }) => text) : change?.error.message;
};

describe("watchPolicyFiles", () => {
  beforeEach(() => {
    mkdirSync(join(root, "p"));
    write("p/a.yaml", "a: 1");
  });

  it("reports a change that stood still for 200 ms", async () => {
    await watchFolder();
    write("p/a.yaml", "a: 2");
    await timers(2);
    clock.advance(199);
    expect(changes).toEqual([]);
    clock.advance(1);
    await reports(1);
    expect(texts(0)).toEqual(["a: 2"]);
  });

  it("does not believe a folder that is still being written", async () => {
    await watchFolder();
    write("p/b.yaml", "b: 1");
    await timers(2);
    write("p/c.yaml", "c: 1");
    clock.advance(200);
    await timers(2); // read again, found other, waits again
    expect(changes).toEqual([]);
    clock.advance(200);
    await reports(1);
    expect(texts(0)).toEqual(["a: 1", "b: 1", "c: 1"]);
  });

  it("lets what vanished count only after 2 s", async () => {
    write("p/b.yaml", "b: 1");
    await watchFolder();
    rmSync(join(root, "p/b.yaml"));
    await timers(2);
    clock.advance(1999);
    expect(changes).toEqual([]);
    clock.advance(1);
    await reports(1);
    expect(texts(0)).toEqual(["a: 1"]);
  });

  it("never reports a file that was gone for less than 2 s", async () => {
    write("p/b.yaml", "b: 1");
    const watch = await watchFolder();
    rmSync(join(root, "p/b.yaml"));
    await timers(2);
    write("p/b.yaml", "b: 1");
    clock.advance(2000);
    await timers(1);
    expect(changes).toEqual([]);
    const reloaded = watch.reloadNow();
    await timers(2);
    clock.advance(200);
    await reloaded;
    expect(texts(0)).toEqual(["a: 1", "b: 1"]);
  });

  it("waits 2 s for a document that vanished and for a file that ends early", async () => {
    write("p/a.yaml", "a: 1\n---\nb: 1\n");
    await watchFolder();
    write("p/a.yaml", "a: 1\n---\n");
    await timers(2);
    clock.advance(1999);
    expect(changes).toEqual([]);
    write("p/a.yaml", "a: 1\n---\nb: 2\n");
    clock.advance(1);
    await timers(2);
    clock.advance(200);
    await reports(1);
    expect(texts(0)).toEqual(["a: 1\n---\nb: 2\n"]);
  });

  it("counts what vanished at once on SIGHUP, but still reads twice", async () => {
    write("p/b.yaml", "b: 1");
    const watch = await watchFolder();
    rmSync(join(root, "p/b.yaml"));
    await timers(2);
    const reloaded = watch.reloadNow();
    await timers(2);
    expect(changes).toEqual([]);
    await vi.waitFor(() => {
      clock.advance(200);
      expect(changes).toHaveLength(1);
    });
    await reloaded;
    expect(texts(0)).toEqual(["a: 1"]);
  });

  it("reports an unchanged set on SIGHUP, so that a refused one is tried again", async () => {
    const watch = await watchFolder();
    const reloaded = watch.reloadNow();
    await timers(2);
    clock.advance(200);
    await reloaded;
    expect(texts(0)).toEqual(["a: 1"]);
  });

  it("reports once that a folder cannot be read, and then the set that is back", async () => {
    await watchFolder();
    renameSync(join(root, "p"), join(root, "q"));
    await timers(2);
    clock.advance(200);
    await reports(1);
    expect(texts(0)).toMatch(/^c\.yaml: E_CONFIG_FILE .*\/p does not exist$/);
    await timers(1);
    clock.advance(5000);
    await timers(1);
    renameSync(join(root, "q"), join(root, "p"));
    await timers(2);
    clock.advance(200);
    await reports(2);
    expect(texts(1)).toEqual(["a: 1"]);
  });

  it("sees a Kubernetes mount change its link", async () => {
    for (const version of ["..1", "..2"]) {
      mkdirSync(join(root, "p", version));
      write(`p/${version}/b.yaml`, `b: ${version}`);
    }
    symlinkSync("..1", join(root, "p/..data"));
    symlinkSync("..data/b.yaml", join(root, "p/b.yaml"));
    await watchFolder();
    symlinkSync("..2", join(root, "p/..tmp"));
    renameSync(join(root, "p/..tmp"), join(root, "p/..data"));
    await timers(2);
    clock.advance(200);
    await reports(1);
    expect(texts(0)).toEqual(["a: 1", "b: ..2"]);
  });

  it("finds by its poll what sends no event", async () => {
    mkdirSync(join(root, "elsewhere"));
    write("elsewhere/b.yaml", "b: 1");
    symlinkSync(join(root, "elsewhere/b.yaml"), join(root, "p/b.yaml"));
    await watchFolder();
    write("elsewhere/b.yaml", "b: 2");
    clock.advance(5000);
    await timers(2);
    clock.advance(200);
    await reports(1);
    expect(texts(0)).toEqual(["a: 1", "b: 2"]);
  });

  it("holds no timer and reports nothing after its signal", async () => {
    const watch = await watchFolder();
    write("p/a.yaml", "a: 2");
    await timers(2);
    stop.abort();
    expect(clock.pending).toBe(0);
    await watch.reloadNow();
    expect(changes).toEqual([]);
  });
});

describe("watchConfigFile", () => {
  it("reports the file's new text, also when it was replaced", async () => {
    const file = join(root, "c.yaml");
    write("c.yaml", "a: 1");
    watchConfigFile(file, { initial: [{ file, text: "a: 1" }], clock, onChange, signal: stop.signal });
    await timers(1);
    write("c.yaml.new", "a: 2");
    renameSync(join(root, "c.yaml.new"), file);
    await timers(2);
    clock.advance(200);
    await reports(1);
    expect(changes[0]).toEqual({ kind: "read", files: [{ file, text: "a: 2" }] });
  });

  it("notices a change between the first read and the start of the watch", async () => {
    const file = join(root, "c.yaml");
    write("c.yaml", "a: 2");
    watchConfigFile(file, { initial: [{ file, text: "a: 1" }], clock, onChange, signal: stop.signal });
    await timers(2);
    clock.advance(200);
    await reports(1);
    expect(texts(0)).toEqual(["a: 2"]);
  });
});
