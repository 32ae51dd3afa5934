import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLineReader, type LineReader } from "./line-reader.ts";

let folder: string;
let path: string;
let reader: LineReader;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "countersign-lines-"));
  path = join(folder, "audit.jsonl");
  reader = createLineReader(path);
});
afterEach(async () => {
  await reader.close();
  rmSync(folder, { recursive: true });
});
async function lines(): Promise<string[]> {
  const found: string[] = [];
  await reader.read((line) => found.push(line));
  return found;
}

describe("a growing file", () => {
  it("gives each complete line once, and a half one when it is whole", async () => {
    writeFileSync(path, "a\nb\nc");
    expect(await lines()).toEqual(["a", "b"]);
    expect(await lines()).toEqual([]);
    appendFileSync(path, "c\n\nd\n");
    expect(await lines()).toEqual(["cc", "", "d"]);
    appendFileSync(path, "rest");
    expect(await lines()).toEqual([]);
    expect(reader.takeRest()).toBe("rest");
  });

  it("gives lines that are longer than a read, in one piece", async () => {
    const long = "é".repeat(300_000);
    writeFileSync(path, `${long}\nb\n`);
    expect(await lines()).toEqual([long, "b"]);
  });

  it("cuts a line without end instead of keeping it all", async () => {
    writeFileSync(path, `${"x".repeat(5_000_000)}\nb\n`);
    const found = await lines();
    expect(found).toHaveLength(2);
    expect(found[0]?.length).toBeLessThan(1_400_000);
    expect(found[1]).toBe("b");
  });
});

describe("a file that changes hands", () => {
  it("by rotation is read to its end before the next one", async () => {
    writeFileSync(path, "a\n");
    expect(await lines()).toEqual(["a"]);
    appendFileSync(path, "b\ntorn");
    renameSync(path, `${path}.1`);
    writeFileSync(path, "c\n");
    expect(await lines()).toEqual(["b", "torn", "c"]);
  });

  it("is read on while the new one is not there yet", async () => {
    writeFileSync(path, "a\n");
    await lines();
    renameSync(path, `${path}.1`);
    appendFileSync(`${path}.1`, "b\n");
    expect(await lines()).toEqual(["b"]);
    writeFileSync(path, "c\n");
    expect(await lines()).toEqual(["c"]);
  });

  it("by truncation starts anew", async () => {
    writeFileSync(path, "a\nb\ntorn");
    await lines();
    writeFileSync(path, "c\n");
    expect(await lines()).toEqual(["c"]);
  });
});

it("a file that is not there is an error each time, until it is", async () => {
  await expect(lines()).rejects.toMatchObject({ code: "ENOENT" });
  writeFileSync(path, "a\n");
  expect(await lines()).toEqual(["a"]);
});
