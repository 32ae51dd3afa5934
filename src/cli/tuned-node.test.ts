import { describe, expect, it } from "vitest";
import { tunedEnvironment, tuningFlags } from "./tuned-node.ts";

describe("a tuned Node", () => {
  it("gets a small young generation, and keeps nothing of threads that ended", () =>
    expect(tuningFlags([], {})).toEqual(["--max-semi-space-size=8"]));

  it.each([
    [["--max-semi-space-size=16"], {}],
    [["--cpu-prof", "--max-semi-space-size=4"], {}],
    [[], { NODE_OPTIONS: "--max-semi-space-size=32" }],
  ])("keeps what the user chose: %j %j", (execArgv, environment) =>
    expect(tuningFlags(execArgv, environment)).toEqual([]),
  );

  it("keeps the environment, the user's own arenas too", () => {
    expect(tunedEnvironment({ A: "1", B: undefined })).toEqual({ A: "1", MALLOC_ARENA_MAX: "1" });
    expect(tunedEnvironment({ MALLOC_ARENA_MAX: "8" })).toEqual({ MALLOC_ARENA_MAX: "8" });
  });
});
