import { describe, expect, test } from "vitest";
import { parseProcessStat, processTree, treeRssBytes } from "./procfs.ts";

const tail = "S 42 7 7 0 -1 4194560 100 0 0 0 250 75 0 0 20 0 1 0 1000 0 0";

describe("parseProcessStat", () => {
  test.each([
    ["a plain name", `1234 (haproxy) ${tail}`],
    ["a name with a space and a bracket", `1234 (a) R 9 (b) ${tail}`],
  ])("reads the parent and user + system time behind %s", (_, text) => {
    expect(parseProcessStat(text)).toEqual({ parentPid: 42, cpuSeconds: 3.25 });
  });

  test("refuses what is no stat file", () => {
    expect(() => parseProcessStat("1234 (x) S")).toThrow(/not the content of a stat file/);
  });
});

describe.runIf(process.platform === "linux")("the process tree", () => {
  test("starts with its root and has a resident size", () => {
    expect(processTree(process.pid)[0]).toBe(process.pid);
    expect(treeRssBytes(process.pid)).toBeGreaterThan(10_000_000);
  });
});
