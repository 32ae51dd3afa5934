import { describe, expect, test } from "vitest";
import { cpuBarsOf, isMissed, otherBarsOf } from "./bars.ts";
import type { PeerResult, Sample } from "./measure.ts";
import { median } from "./statistics.ts";
import { summarize, type WorkloadSummary } from "./summary.ts";
import { cpuBarsTable, workloadTable } from "./table.ts";
import { type Workload, workloads } from "./workloads.ts";

describe("median", () => {
  test.each([
    [[3], 3],
    [[9, 1, 5], 5],
    [[4, 1, 3, 2], 2.5],
  ])("of %j is %d", (values, expected) => {
    expect(median(values)).toBe(expected);
  });

  test("of nothing is a misuse", () => {
    expect(() => median([])).toThrow(TypeError);
  });
});

function workloadNamed(wanted: string): Workload {
  const found = workloads.find(({ name }) => name === wanted);
  if (found === undefined) throw new Error(`the workload ${wanted}, which bars speak of, is gone`);
  return found;
}
const c32 = workloadNamed("http1-c32");

function sample(cpuSecondsOfEachHop: number, p99Us: number): Sample {
  return {
    units: 1_000,
    calls: 1_000,
    seconds: 2,
    p50Us: 100,
    p99Us,
    errors: 0,
    outboundCpuSeconds: cpuSecondsOfEachHop,
    inboundCpuSeconds: cpuSecondsOfEachHop,
    outboundPeakRssBytes: 50e6,
    inboundPeakRssBytes: 60e6,
  };
}

function result(peer: string, samples: readonly Sample[], missingLogLines = 0): PeerResult {
  return { peer, samples, missingLogLines };
}

describe("summarize", () => {
  const summary = summarize(c32, {
    peers: [
      result("countersign", [sample(0.03, 400), sample(0.9, 9_000), sample(0.03, 400)]),
      result("haproxy", [sample(0.02, 200)]),
      result("envoy", [sample(0.06, 800)], 3),
    ],
    direct: [],
  });
  const [own, haproxy, envoy] = summary.peers;

  test("takes CPU time for one request and one hop, in the middle of the rounds", () => {
    expect(own?.cpuSecondsPerUnitAndHop).toBeCloseTo(30e-6);
    expect(own?.unitsPerSecond).toBe(500);
    expect(own?.peakRssBytes).toBe(60e6);
  });

  test("divides Countersign's figures by each peer's", () => {
    expect(haproxy?.cpuRatio).toBeCloseTo(1.5);
    expect(envoy?.cpuRatio).toBeCloseTo(0.5);
    expect(envoy?.p99Ratio).toBeCloseTo(0.5);
  });

  test("subtracts the origin's own latency at a fixed rate", () => {
    const paced = summarize(workloadNamed("http1-1000rps"), {
      peers: [result("countersign", [sample(0.03, 600)]), result("envoy", [sample(0.03, 800)])],
      direct: [{ units: 1, calls: 1, seconds: 1, p50Us: 90, p99Us: 400, errors: 0 }],
    });
    expect(paced.peers.map(({ p50Us, p99Us }) => [p50Us, p99Us])).toEqual([
      [10, 200],
      [10, 400],
    ]);
    expect(otherBarsOf([paced], []).map(({ measured }) => measured)).toEqual([1, 0.5]);
  });

  test("prints a row for each peer, and remarks only where there are some", () => {
    const text = workloadTable(summary, "text");
    expect(text).toMatch(/countersign +30\.0 +1\.00/);
    expect(text).toMatch(/envoy .* 3 log lines missing/);
    expect(workloadTable({ ...summary, peers: summary.peers.slice(0, 2) }, "markdown")).not.toContain("remarks");
  });

  test("puts ratios, limits and whether they hold into the table of bars", () => {
    const [row] = cpuBarsOf([summary]);
    expect(row?.cells.haproxy).toMatchObject({ limit: 1.1, measured: expect.closeTo(1.5) as number });
    expect(cpuBarsTable(cpuBarsOf([summary]), "markdown")).toContain(
      "| HTTP/1.1 apps, 32 connections | 1.50 ≤ 1.1 MISSED | not measured, ≤ 1.8 | 0.50 ≤ 0.35 MISSED | not measured, ≤ 0.6 |",
    );
  });
});

describe("bars", () => {
  test("take the worst of the workloads they speak of, once all were measured", () => {
    const measured = (name: string, own: number): WorkloadSummary =>
      summarize(workloadNamed(name), {
        peers: [result("countersign", [sample(own, 1)]), result("haproxy", [sample(1, 1)])],
        direct: [],
      });
    const [row] = cpuBarsOf([measured("http2-8x16", 0.9), measured("http2-4x100", 1.1)]);
    expect(row?.cells.haproxy).toEqual({ measured: 1.1, limit: 1.2 });
    expect(cpuBarsOf([measured("http2-8x16", 0.9)])).toEqual([]);
  });

  test("of new TCP connections are held against ghostunnel in HAProxy's column", () => {
    const summary = summarize(workloadNamed("tcp-new-conn"), {
      peers: [
        result("countersign", [sample(1, 1)]),
        result("haproxy", [sample(1, 1)]),
        result("ghostunnel", [sample(4, 1)]),
      ],
      direct: [],
    });
    expect(cpuBarsOf([summary])[0]?.cells.haproxy).toEqual({ measured: 0.25, limit: 0.3, against: "ghostunnel" });
  });

  test("are not missed by what was not measured", () => {
    expect([isMissed({ measured: undefined, limit: 1 }), isMissed({ measured: 2, limit: 1 })]).toEqual([false, true]);
    expect(otherBarsOf([], [])).toEqual([]);
  });
});
