import { describe, expect, it } from "vitest";
import { hasPeerPidfd } from "./pidfd.ts";

describe("hasPeerPidfd", () => {
  it.each([
    ["6.5.0", true],
    ["6.18.44-generic", true],
    ["7.0.0-rc1", true],
    ["6.4.16", false],
    ["5.15.0-91-generic", false],
    ["4.4.0", false],
    ["", false],
  ])("of %j is %j", (kernel, expected) => {
    expect(hasPeerPidfd(kernel)).toBe(expected);
  });
});
