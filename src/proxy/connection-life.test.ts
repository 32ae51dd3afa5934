import { describe, expect, it } from "vitest";
import { connectionEnd, drainLeadMs } from "./connection-life.ts";

const HOUR = 3_600_000;

describe("connectionEnd", () => {
  it("drains 30 s before a long identity ends and cuts at its end", () => {
    expect(connectionEnd(HOUR, 0, 0)).toEqual({ drainMs: HOUR - 30_000, cutMs: HOUR });
  });
  it("drains after nine tenths of a short identity", () => {
    expect(connectionEnd(10_000, 0, 0)).toEqual({ drainMs: 9000, cutMs: 10_000 });
  });
  it("drains at the connection's age when that comes first, and cuts only for identity", () => {
    expect(connectionEnd(HOUR, 60_000, 0)).toEqual({ drainMs: 60_000, cutMs: HOUR });
  });
  it("never ends a connection without identity or age", () => {
    const never = Number.POSITIVE_INFINITY;
    expect(connectionEnd(never, 0, 0)).toEqual({ drainMs: never, cutMs: never });
  });
  it("has no negative lead for what is over already", () => expect(drainLeadMs(-5)).toBe(0));
});
