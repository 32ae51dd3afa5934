import { describe, expect, it } from "vitest";
import { fakeClock } from "../../test/support/fake-clock.ts";
import { createTokenBuckets } from "./token-buckets.ts";

describe("token buckets", () => {
  it("allows a burst, then the rate", () => {
    const clock = fakeClock();
    const buckets = createTokenBuckets({ burst: 3, perSecond: 2, maxKeys: 10, clock });
    expect([1, 2, 3, 4].map(() => buckets.take(7, 1))).toEqual([true, true, true, false]);
    clock.advance(500);
    expect([1, 2].map(() => buckets.take(7, 1))).toEqual([true, false]);
    clock.advance(60_000);
    expect(buckets.take(7, 4)).toBe(false);
    expect(buckets.take(7, 3)).toBe(true);
  });

  it("keeps keys apart", () => {
    const buckets = createTokenBuckets({ burst: 1, perSecond: 1, maxKeys: 10, clock: fakeClock() });
    expect(buckets.take(1, 1)).toBe(true);
    expect(buckets.take(2, 1)).toBe(true);
    expect(buckets.take(1, 1)).toBe(false);
  });

  it("forgets keys that have rested and refuses new ones while it cannot", () => {
    const clock = fakeClock();
    const buckets = createTokenBuckets({ burst: 1, perSecond: 1, maxKeys: 2, clock });
    expect([1, 2, 3].map((key) => buckets.take(key, 1))).toEqual([true, true, false]);
    clock.advance(1000);
    expect(buckets.take(3, 1)).toBe(true);
  });
});
