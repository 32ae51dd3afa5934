import { describe, expect, test } from "vitest";
import { StallGuard } from "./stall-guard.ts";

const limit = { streams: 3, for: 10_000 };

/** Asked once a second; when it says that it is too much, if ever. */
function firstPass(rounds: readonly (readonly [stalled: number, sent: number])[]): number | undefined {
  const guard = new StallGuard(limit);
  const at = rounds.findIndex(([stalled, sent], second) => guard.passes(stalled, sent, 1000 * second));
  return at === -1 ? undefined : at;
}
const seconds = (count: number, of: (at: number) => readonly [number, number]) =>
  Array.from({ length: count }, (_, at) => of(at));

describe("a caller", () => {
  test.each([
    ["that takes nothing of many streams passes after the time", seconds(20, () => [3, 500]), 10],
    ["that takes a byte now and then does not", seconds(60, (at) => [100, Math.floor(at / 9)]), undefined],
    ["that takes nothing of a few streams does not", seconds(60, () => [2, 500]), undefined],
    ["that goes on has the whole time again", seconds(40, (at) => [at === 8 ? 2 : 3, 500]), 19],
  ])("%s", (_name, rounds, passesAt) => {
    expect(firstPass(rounds)).toBe(passesAt);
  });
});
