import { expect, test } from "vitest";
import { wallClockUs } from "./call-outcomes.ts";

test("the time of something that began long ago does not move the times of what begins now", () => {
  const began = performance.now();
  const shownUs = wallClockUs(began - 5000);
  expect(Math.abs(shownUs / 1000 - (Date.now() - 5000))).toBeLessThan(100);
  expect(Math.abs(wallClockUs(performance.now()) / 1000 - Date.now())).toBeLessThan(100);
});
