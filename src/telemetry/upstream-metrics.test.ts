import { expect, it } from "vitest";
import { addUpstreamMetrics, type UpstreamMetricsState } from "./upstream-metrics.ts";

it("tells of each upstream and of each of its addresses, and of all destinations of an egress proxy together", () => {
  const lines: string[] = [];
  const state: UpstreamMetricsState[] = [
    {
      name: "out",
      direction: "outbound",
      upstream: {
        connections: 3,
        active: 2,
        pending: 1,
        limited: 7,
        endpoints: [
          { address: "10.0.0.1:1", state: "healthy", active: 2, latencyMs: 5, failures: 0, ejections: 0 },
          { address: "10.0.0.2:1", state: "ejected", active: 0, failures: 5, ejections: 1 },
        ],
      },
    },
    {
      name: "egress",
      direction: "outbound",
      upstream: {
        connections: 5,
        active: 4,
        pending: 0,
        limited: 6,
        endpoints: [{ address: "10.9.9.9:1", state: "ejected", active: 1, latencyMs: 5, failures: 5, ejections: 1 }],
        destinations: { ejected: 2, failures: 9, ejections: 3 },
      },
    },
  ];
  const make: Parameters<typeof addUpstreamMetrics>[0] = (name, _help, _labels, fill) =>
    fill((labels, value) =>
      lines.push([name.slice("countersign_upstream_".length), ...Object.values(labels), value].join(" ")),
    );
  addUpstreamMetrics(make, make, () => state);
  expect(lines).toEqual([
    "connections outbound out 3",
    "connections outbound egress 5",
    "active outbound out 2",
    "active outbound egress 4",
    "pending outbound out 1",
    "pending outbound egress 0",
    "limited_total outbound out 7",
    "limited_total outbound egress 6",
    "endpoint_active outbound out 10.0.0.1:1 2",
    "endpoint_active outbound out 10.0.0.2:1 0",
    "endpoint_active outbound egress * 4",
    "endpoint_ejected outbound out 10.0.0.1:1 0",
    "endpoint_ejected outbound out 10.0.0.2:1 1",
    "endpoint_ejected outbound egress * 2",
    "endpoint_latency_seconds outbound out 10.0.0.1:1 0.005",
    "endpoint_failures_total outbound out 10.0.0.1:1 0",
    "endpoint_failures_total outbound out 10.0.0.2:1 5",
    "endpoint_failures_total outbound egress * 9",
    "endpoint_ejections_total outbound out 10.0.0.1:1 0",
    "endpoint_ejections_total outbound out 10.0.0.2:1 1",
    "endpoint_ejections_total outbound egress * 3",
  ]);
});
