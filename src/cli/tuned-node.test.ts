import { describe, expect, it } from "vitest";
import { tunedEnvironment, tuningFlags } from "./tuned-node.ts";

describe("a tuned Node", () => {
  const [young, oneThread] = ["--max-semi-space-size=2", "--single-threaded-gc"];

  it("gets a small young generation, which its own thread collects", () =>
    expect(tuningFlags([], {})).toEqual([young, oneThread]));

  it.each([
    [["--max-semi-space-size=16"], {}, [oneThread]],
    [["--cpu-prof", "--max-semi-space-size=4"], {}, [oneThread]],
    [[], { NODE_OPTIONS: "--max-semi-space-size=32" }, [oneThread]],
    [["--no-single-threaded-gc"], {}, [young]],
    [[young, oneThread], {}, []],
  ])("keeps what the user chose: %j %j", (execArgv, environment, added) =>
    expect(tuningFlags(execArgv, environment)).toEqual(added),
  );

  it("keeps the environment, the user's own arenas too", () => {
    expect(tunedEnvironment({ A: "1", B: undefined })).toEqual({ A: "1", MALLOC_ARENA_MAX: "1" });
    expect(tunedEnvironment({ MALLOC_ARENA_MAX: "8" })).toEqual({ MALLOC_ARENA_MAX: "8" });
  });
});
