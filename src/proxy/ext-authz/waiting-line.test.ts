import { describe, expect, it } from "vitest";
import { WaitingLine } from "./waiting-line.ts";

function lineOf(count: number): { line: WaitingLine<number>; places: ReturnType<WaitingLine<number>["add"]>[] } {
  const line = new WaitingLine<number>();
  return { line, places: Array.from({ length: count }, (_, at) => line.add(at)) };
}

const valuesIn = (line: WaitingLine<number>): number[] => [...line].map(({ value }) => value);

describe("a waiting line", () => {
  it("gives in the order in which they came those that have not left", () => {
    const { line, places } = lineOf(6);
    for (const at of [0, 3, 5]) line.leave(places[at] ?? line.add(-1));
    expect(valuesIn(line)).toEqual([1, 2, 4]);
    line.add(6);
    expect(line.size).toBe(4);
    expect([line.takeFirst(), line.takeFirst(), line.takeFirst(), line.takeFirst(), line.takeFirst()]).toEqual([
      1,
      2,
      4,
      6,
      undefined,
    ]);
    expect([line.size, ...valuesIn(line)]).toEqual([0]);
  });

  it("is left once: who has had a turn, or left before, takes nobody along", () => {
    const { line, places } = lineOf(3);
    const [first, second] = places;
    if (first === undefined || second === undefined) throw new TypeError("three came");
    line.takeFirst();
    line.leave(first);
    line.leave(second);
    line.leave(second);
    expect([line.size, ...valuesIn(line)]).toEqual([1, 2]);
  });

  it("may be left by those it is at while it is gone through", () => {
    const { line } = lineOf(4);
    const seen: number[] = [];
    for (const place of line) {
      seen.push(place.value);
      line.leave(place);
    }
    expect([seen, line.size]).toEqual([[0, 1, 2, 3], 0]);
  });
});
