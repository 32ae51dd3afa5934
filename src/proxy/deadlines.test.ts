import { describe, expect, it } from "vitest";
import { Deadlines, deadlineAfter, type HasDeadline } from "./deadlines.ts";

function member(deadlineMs: number, onDeadline: (self: HasDeadline) => void): HasDeadline {
  const self: HasDeadline = { deadlineMs, onDeadline: () => onDeadline(self) };
  return self;
}

describe("Deadlines", () => {
  it("tells those whose deadline has passed, each sweep until they are removed", () => {
    const deadlines = new Deadlines();
    const told: string[] = [];
    const early = member(10, () => told.push("early"));
    const late = member(20, () => told.push("late"));
    const never = member(Number.POSITIVE_INFINITY, () => told.push("never"));
    for (const one of [early, late, never]) deadlines.add(one);
    deadlines.sweep(9);
    expect(told).toEqual([]);
    deadlines.sweep(10);
    deadlines.sweep(25);
    expect(told).toEqual(["early", "early", "late"]);
    deadlines.delete(early);
    deadlines.sweep(25);
    expect(told).toEqual(["early", "early", "late", "late"]);
    deadlines.delete(late);
    deadlines.delete(never);
    expect(deadlines.size).toBe(0);
  });

  it("lets members remove themselves and each other inside a sweep", () => {
    const deadlines = new Deadlines();
    const told: string[] = [];
    const second = member(0, () => told.push("second"));
    const first = member(0, (self) => {
      told.push("first");
      deadlines.delete(self);
      deadlines.delete(second);
    });
    deadlines.add(first);
    deadlines.add(second);
    deadlines.sweep(1);
    expect(told).toEqual(["first"]);
    expect(deadlines.size).toBe(0);
  });

  it("takes 0 for no limit", () => {
    expect(deadlineAfter(0)).toBe(Number.POSITIVE_INFINITY);
    expect(deadlineAfter(1000)).toBeGreaterThan(performance.now());
  });
});
