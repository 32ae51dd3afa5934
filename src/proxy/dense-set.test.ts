import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DenseSet, type Place } from "./dense-set.ts";

describe("DenseSet", () => {
  it("holds what was added and not deleted, in any order of changes", () => {
    const changes = fc.array(fc.tuple(fc.boolean(), fc.nat(50)), { maxLength: 200 });
    fc.assert(
      fc.property(changes, (steps) => {
        const set = new DenseSet<number>();
        const places: Place[] = [];
        const model = new Set<number>();
        steps.forEach(([isAdd, pick], step) => {
          if (isAdd) {
            places.push(set.add(places.length));
            model.add(places.length - 1);
            return;
          }
          const at = pick % Math.max(1, places.length);
          const place = places[at];
          if (place !== undefined) expect([step, set.delete(place)]).toEqual([step, model.delete(at)]);
        });
        expect(set.size).toBe(model.size);
        expect(set.list().sort((a, b) => a - b)).toEqual([...model].sort((a, b) => a - b));
      }),
    );
  });
});
