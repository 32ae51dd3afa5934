import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { chunksOf } from "../../test/support/text-chunks.ts";
import { heldInput, isPipe, readInputLines } from "./input-lines.ts";

async function linesOf(input: Parameters<typeof readInputLines>[0], stdin?: AsyncIterable<Buffer>) {
  const lines: string[] = [];
  await readInputLines(input, stdin === undefined ? {} : { stdin }, (line) => lines.push(line));
  return lines;
}

it.each([
  ["", []],
  ["a", ["a"]],
  ["a\n", ["a"]],
  ["\na\n\nbé longer than a piece\nc", ["", "a", "", "bé longer than a piece", "c"]],
])("reads %j line by line from a stream, a file and memory", async (text, expected) => {
  const folder = mkdtempSync(join(tmpdir(), "countersign-lines-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "lines");
  writeFileSync(file, text);
  expect(await linesOf("-", chunksOf(text))).toEqual(expected);
  expect(await linesOf(file)).toEqual(expected);
  expect(await linesOf({ name: "-", bytes: Buffer.from(text) })).toEqual(expected);
});

it("cuts a line that is longer than any that means something, and goes on behind it", async () => {
  const lines = await linesOf({ name: "-", bytes: Buffer.from(`${"x".repeat(3 * 2 ** 20)}\nnext\n`) });
  expect(lines.map(({ length }) => length)).toEqual([2 ** 20, 4]);
});

it("holds no more of a pipe than it may", async () => {
  const io = () => ({ stdin: chunksOf("x".repeat(100)) });
  expect(await heldInput("-", io(), 99)).toBeUndefined();
  expect(await heldInput("-", io(), 100)).toMatchObject({ name: "-" });
  expect(await heldInput(import.meta.filename, io(), 1)).toBe(import.meta.filename);
});

it("takes for a pipe what is neither file nor folder", async () => {
  const asked = ["-", "/dev/null", import.meta.filename, import.meta.dirname, "/nowhere"];
  expect(await Promise.all(asked.map(isPipe))).toEqual([true, true, false, false, false]);
});
