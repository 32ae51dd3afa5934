import { describe, expect, test } from "vitest";
import { barsOf, isMissed } from "./bars.ts";
import type { PeerResult, Sample } from "./measure.ts";
import { median } from "./statistics.ts";
import { summarize } from "./summary.ts";
import { workloadTable } from "./table.ts";
import { workloads } from "./workloads.ts";

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

const c32 = workloads.find(({ name }) => name === "http1-c32");
if (c32 === undefined) throw new Error("the workload that the bars speak of is gone");

function sample(cpuSecondsOfEachHop: number, p99Us: number): Sample {
  return {
    units: 1_000,
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
  const summary = summarize(c32, [
    result("countersign", [sample(0.03, 400), sample(0.9, 9_000), sample(0.03, 400)]),
    result("haproxy", [sample(0.02, 200)]),
    result("envoy", [sample(0.06, 800)], 3),
  ]);
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

  test("meets the bars here, and misses one when HAProxy is twice as cheap", () => {
    expect(barsOf([summary]).map(isMissed)).toEqual([false, false, false, false]);
    const cheaper = summarize(c32, [
      result("countersign", [sample(0.03, 400)]),
      result("haproxy", [sample(0.01, 200)]),
    ]);
    expect(barsOf([cheaper]).map(isMissed)).toEqual([true, false, false, false]);
  });

  test("has no ratio, and no bar, without Countersign", () => {
    const others = summarize(c32, [result("haproxy", [sample(0.01, 200)])]);
    expect(others.peers[0]?.cpuRatio).toBeUndefined();
    expect(barsOf([others]).map(({ measured }) => measured)).toEqual([undefined, undefined, undefined, undefined]);
  });

  test("prints a row for each peer, and remarks only where there are some", () => {
    const text = workloadTable(summary, "text");
    expect(text).toMatch(/countersign +30\.0 +1\.00/);
    expect(text).toMatch(/envoy .* 3 log lines missing/);
    expect(workloadTable({ ...summary, peers: summary.peers.slice(0, 2) }, "markdown")).not.toContain("remarks");
  });
});
