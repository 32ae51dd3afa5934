import { describe, expect, it } from "vitest";
import { newTraceparent, nextDecisionId, randomHex, traceIdOf } from "./call-identifiers.ts";

describe("call identifiers", () => {
  it("never repeat, also past a refill of the random pool", () => {
    const ids = new Set(Array.from({ length: 1000 }, () => randomHex(16)));
    expect(ids.size).toBe(1000);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect(nextDecisionId()).not.toBe(nextDecisionId());
  });

  it("make traceparents that W3C Trace Context accepts", () => {
    const made = newTraceparent();
    expect(made).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
    expect(traceIdOf(made)).toBe(made.slice(3, 35));
  });

  it.each([
    ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"],
    ["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future", "4bf92f3577b34da6a3ce929d0e0e4736"],
    ["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", undefined],
    ["00-00000000000000000000000000000000-00f067aa0ba902b7-01", undefined],
    ["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", undefined],
    ["00-4bf92f3577b34da6a3ce929d0e0e4736", undefined],
    ["", undefined],
  ])("reads the trace id of %j", (traceparent, expected) => expect(traceIdOf(traceparent)).toBe(expected));
});
