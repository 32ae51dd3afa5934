import { describe, expect, it } from "vitest";
import { watchMemory } from "./memory-limit.ts";
import { SpareLane } from "./spare-lane.ts";

describe("the limit of memory", () => {
  it("is passed above it, and left 5 % below it", () => {
    let bytes = 100;
    let limit = 1000;
    const changes: boolean[] = [];
    let collections = 0;
    const watched = watchMemory({
      limit: () => limit,
      onChange: (isOver) => changes.push(isOver),
      resident: () => bytes,
      collect: () => collections++,
    });
    const at = (now: number): void => {
      bytes = now;
      watched.look();
    };
    for (const now of [100, 1000, 1001, 1200, 951]) at(now);
    expect([changes, collections]).toEqual([[true], 1]);
    at(950);
    expect(changes).toEqual([true, false]);
    at(1500);
    // a reload that takes the limit away counts as well
    limit = 0;
    watched.look();
    at(5000);
    expect(changes).toEqual([true, false, true, false]);
    watched.close();
  });

  it("has garbage collected when it is passed, and every 5 s from then on", () => {
    let collections = 0;
    const watched = watchMemory({
      limit: () => 1,
      onChange: () => undefined,
      resident: () => 2,
      collect: () => collections++,
    });
    for (let look = 0; look < 101; look++) watched.look();
    expect(collections).toBe(3);
    watched.close();
  });

  it("is compared with the process's memory", () => {
    const changes: number[] = [];
    const watched = watchMemory({ limit: () => 1024, onChange: (_, bytes) => changes.push(bytes) });
    watched.look();
    watched.close();
    expect(changes[0]).toBeGreaterThan(10_000_000);
  });
});

describe("the spare lane", () => {
  it("has 32 places, and 50 new connections a second", () => {
    let nowMs = 0;
    const lane = new SpareLane(() => nowMs);
    expect([lane.admits(0), lane.admits(31), lane.admits(32)]).toEqual([true, true, false]);
    const taken = (): number => Array.from({ length: 100 }, () => lane.admits(0)).filter(Boolean).length;
    expect(taken()).toBe(48);
    nowMs += 100;
    expect(taken()).toBe(5);
    nowMs += 60_000;
    expect(taken()).toBe(50);
  });
});
