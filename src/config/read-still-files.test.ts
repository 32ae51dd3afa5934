import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { type FakeClock, fakeClock } from "../../test/support/fake-clock.ts";
import { readStillFiles } from "./read-still-files.ts";

let root: string;
let clock: FakeClock;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "countersign-still-"));
  clock = fakeClock();
});
afterEach(() => rmSync(root, { recursive: true }));

const file = (): string => join(root, "p.yaml");
const paths = () => [{ path: file(), at: { file: "c.yaml" } }];
const pass = async (): Promise<void> => {
  await vi.waitFor(() => expect(clock.pending).toBe(1), { interval: 1 });
  clock.advance(200);
};

it("reads once what stood still before", async () => {
  writeFileSync(file(), "one");
  expect(await readStillFiles(paths(), [{ file: file(), text: "one" }], clock)).toEqual([
    { file: file(), text: "one" },
  ]);
  expect(clock.pending).toBe(0);
});

it("reads what is new until two reads, 200 ms apart, are equal", async () => {
  writeFileSync(file(), "half");
  const reading = readStillFiles(paths(), [{ file: file(), text: "old" }], clock);
  await vi.waitFor(() => expect(clock.pending).toBe(1), { interval: 1 });
  writeFileSync(file(), "whole");
  await pass();
  await pass();
  expect(await reading).toEqual([{ file: file(), text: "whole" }]);
});

it("gives up on files that change all the time", async () => {
  let failed: unknown;
  writeFileSync(file(), "0");
  const reading = readStillFiles(paths(), undefined, clock).catch((error: unknown) => {
    failed = error;
  });
  for (let i = 1; failed === undefined && i < 30; i++) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await vi.waitFor(() => expect(clock.pending > 0 || failed !== undefined).toBe(true), { interval: 1 });
    writeFileSync(file(), String(i));
    clock.advance(200);
  }
  await reading;
  expect(failed).toMatchObject({
    errors: [{ code: "E_CONFIG_FILE", message: "the policy files change all the time" }],
  });
});
