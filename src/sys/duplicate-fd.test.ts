import { closeSync, fstatSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { duplicateFd } from "./duplicate-fd.ts";

it("makes a descriptor of the same file that outlives the first", () => {
  const dir = mkdtempSync(join(tmpdir(), "countersign-fd-"));
  const fd = openSync(join(dir, "file"), "w");
  const copy = duplicateFd(fd);
  expect(copy).not.toBe(fd);
  const { ino } = fstatSync(fd);
  closeSync(fd);
  expect(fstatSync(copy).ino).toBe(ino);
  closeSync(copy);
  rmSync(dir, { recursive: true });
});

it("says so where there is nothing to duplicate", () => {
  expect(() => duplicateFd(-1)).toThrow(/file descriptor/);
});
