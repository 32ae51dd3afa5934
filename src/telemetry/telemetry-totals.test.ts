import { expect, it } from "vitest";
import { callOutcome, connectionContext } from "../../test/support/call-outcome.ts";
import { createTelemetry } from "./telemetry.ts";
import { snapshotTelemetry, totalTelemetry } from "./telemetry-totals.ts";

it("adds up what several threads have counted, by its labels", () => {
  const outbound = connectionContext({ direction: "outbound", listener: "payments" });
  const [first, second] = [createTelemetry(), createTelemetry()];
  first.connectionOpened("inbound", "web");
  first.recordCall(callOutcome({ durationMs: 3, upstreamMs: 2 }));
  second.connectionOpened("inbound", "web");
  second.connectionClosed("inbound", "web");
  second.recordCall(callOutcome({ durationMs: 30, upstreamMs: 20 }));
  second.recordCall(callOutcome({ connection: outbound, durationMs: 1, retries: 2 }));
  const own = createTelemetry();
  own.identityRotated();
  own.reloadFailed("policy");
  const total = totalTelemetry(own, () => [first, second].map((one) => structuredClone(snapshotTelemetry(one))));

  expect([...total.calls].map(({ direction, count }) => [direction, count])).toEqual([
    ["inbound", 2],
    ["outbound", 1],
  ]);
  expect([...total.listeners].map(({ listener, opened, closed }) => [listener, opened, closed])).toEqual([
    ["web", 2, 1],
    ["payments", 0, 0],
  ]);
  expect([total.durations.inbound.sumMs, total.upstreamDurations.inbound.sumMs]).toEqual([33, 22]);
  expect(total.durations.inbound.counts.reduce((sum, count) => sum + count, 0)).toBe(2);
  expect([total.retries.outbound, total.rotations, total.reloadFailures.policy]).toEqual([2, 1, 1]);
  first.recordCall(callOutcome());
  expect([...total.calls][0]?.count).toBe(3);
});
