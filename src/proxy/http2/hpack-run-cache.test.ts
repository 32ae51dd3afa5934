import { expect, test } from "vitest";
import { OutputBuffer } from "../http1/output-buffer.ts";
import { RunCache } from "./hpack-run-cache.ts";

function keep(runs: RunCache, key: string, bytes: string): void {
  const out = new OutputBuffer();
  out.latin1(bytes);
  runs.keep(key, 1, out, 0);
}

const text = (run: Uint8Array | undefined): string | undefined =>
  run === undefined ? undefined : Buffer.from(run).toString("latin1");

test("two runs that meet in one place are both kept", () => {
  const runs = new RunCache();
  const [one, other] = ["a-header: 1\r\nlast: x\r\n", "a-header: 1\r\nlast: y\r\n"];
  expect(one.length).toBe(other.length);
  for (let round = 0; round < 3; round++) {
    for (const key of [one, other]) if (runs.find(key, 1) === undefined) keep(runs, key, `bytes of ${key}`);
  }
  expect(text(runs.find(one, 1))).toBe(`bytes of ${one}`);
  expect(text(runs.find(other, 1))).toBe(`bytes of ${other}`);
});

test("a run of an older table is not found, and its place is used again", () => {
  const runs = new RunCache();
  keep(runs, "a: 1\r\n", "old");
  expect(runs.find("a: 1\r\n", 2)).toBeUndefined();
});
