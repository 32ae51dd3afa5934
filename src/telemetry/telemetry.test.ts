import { describe, expect, it } from "vitest";
import { callOutcome, connectionContext } from "../../test/support/call-outcome.ts";
import { fakeClock } from "../../test/support/fake-clock.ts";
import { CountersignError } from "../core/errors.ts";
import type { IdentityState, Svid } from "../core/identity.ts";
import { createDurationHistogram } from "./duration-histogram.ts";
import { createMetricsPage, type MetricsState } from "./metrics-page.ts";
import { createTelemetry, type Telemetry } from "./telemetry.ts";

const state: MetricsState = {
  identity: { kind: "waiting", sinceMs: 0, problem: undefined },
  policy: undefined,
  audit: {
    healthy: true,
    capacity: 8,
    queued: 3,
    written: 20,
    bytes: 1000,
    dropped: 2,
    refusalsFolded: 5,
  },
  ready: false,
};

/** The page's samples without comments, by name and labels. */
async function samples(telemetry: Telemetry, over: Partial<MetricsState> = {}): Promise<Record<string, number>> {
  const page = await createMetricsPage(telemetry, () => ({ ...state, ...over }), fakeClock(1_000_000), "1.2.3");
  try {
    const lines = (await page.render()).split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    return Object.fromEntries(
      lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ")))]),
    );
  } finally {
    page.close();
  }
}

describe("calls", () => {
  it("are counted by direction, listener, verdict and code", async () => {
    const telemetry = createTelemetry();
    const outbound = connectionContext({ direction: "outbound", listener: "payments" });
    telemetry.recordCall(callOutcome());
    telemetry.recordCall(callOutcome());
    telemetry.recordCall(callOutcome({ decision: "deny", reason: "E_POLICY_DENIED_BY_RULE" }));
    telemetry.recordCall(callOutcome({ connection: outbound, decision: "error", reason: undefined, retries: 2 }));
    const page = await samples(telemetry);
    expect(Object.entries(page).filter(([name]) => name.startsWith("countersign_calls_total"))).toEqual([
      ['countersign_calls_total{direction="inbound",listener="web",verdict="allow",code="default"}', 2],
      ['countersign_calls_total{direction="inbound",listener="web",verdict="deny",code="E_POLICY_DENIED_BY_RULE"}', 1],
      ['countersign_calls_total{direction="outbound",listener="payments",verdict="error",code="none"}', 1],
    ]);
    expect(page['countersign_retries_total{direction="outbound"}']).toBe(2);
  });

  it("with ever new codes take bounded memory", () => {
    const telemetry = createTelemetry();
    for (let i = 0; i < 10_000; i++) telemetry.recordCall(callOutcome({ decision: "deny", reason: `E_${i}` }));
    const counts = Array.from(telemetry.calls);
    expect(counts).toHaveLength(257);
    expect(counts.find(({ code }) => code === "other")?.count).toBe(10_000 - 256);
  });

  it("have their durations in a cumulated histogram in seconds", async () => {
    const telemetry = createTelemetry();
    for (const durationMs of [0.2, 0.5, 0.6, 40, 90_000])
      telemetry.recordCall(callOutcome({ durationMs, upstreamMs: 1 }));
    const page = await samples(telemetry);
    const bucket = (le: string, name = "call") =>
      page[`countersign_${name}_duration_seconds_bucket{direction="inbound",le="${le}"}`];
    expect([bucket("0.0005"), bucket("0.001"), bucket("0.05"), bucket("60"), bucket("+Inf")]).toEqual([2, 3, 4, 4, 5]);
    expect(bucket("0.001", "upstream")).toBe(5);
    expect(page['countersign_call_duration_seconds_count{direction="inbound"}']).toBe(5);
    expect(page['countersign_call_duration_seconds_sum{direction="inbound"}']).toBeCloseTo(90.0413, 6);
    expect(page['countersign_call_duration_seconds_count{direction="outbound"}']).toBe(0);
  });
});

it("a duration that is no duration is not observed", () => {
  const histogram = createDurationHistogram();
  for (const ms of [Number.NaN, -1]) histogram.observe(ms);
  expect(histogram.counts.every((count) => count === 0)).toBe(true);
  expect(histogram.sumMs).toBe(0);
});

it("connections are counted as open and in total", async () => {
  const telemetry = createTelemetry();
  for (let i = 0; i < 3; i++) telemetry.connectionOpened("inbound", "web");
  telemetry.connectionClosed("inbound", "web");
  const page = await samples(telemetry);
  expect(page['countersign_connections{direction="inbound",listener="web"}']).toBe(2);
  expect(page['countersign_connections_total{direction="inbound",listener="web"}']).toBe(3);
});

it("rotations and failed reloads are counted", async () => {
  const telemetry = createTelemetry();
  telemetry.identityRotated();
  telemetry.reloadFailed("policy");
  const page = await samples(telemetry);
  expect(page.countersign_rotations_total).toBe(1);
  expect(page['countersign_reload_failures_total{what="policy"}']).toBe(1);
  expect(page['countersign_reload_failures_total{what="config"}']).toBe(0);
});

describe("the page", () => {
  it("shows the identity in use and its times", async () => {
    const svid = { spiffeId: "spiffe://example.org/sa/web", notBeforeMs: 400_000, notAfterMs: 4_000_000 } as Svid;
    const identity: IdentityState = {
      kind: "stale",
      snapshot: { generation: 7, svids: [svid], bundles: new Map() },
      problem: new CountersignError("E_IDENTITY_NONE", "x"),
    };
    const page = await samples(createTelemetry(), { identity });
    expect(page['countersign_svid_expiry_timestamp_seconds{spiffe_id="spiffe://example.org/sa/web"}']).toBe(4000);
    expect(page['countersign_svid_age_seconds{spiffe_id="spiffe://example.org/sa/web"}']).toBe(600);
    expect(page['countersign_identity_state{state="stale"}']).toBe(1);
    expect(page['countersign_identity_state{state="serving"}']).toBe(0);
    expect(page.countersign_svid_generation).toBe(7);
  });

  it("shows which of our SVIDs open connections rest on", async () => {
    const svidOf = (fingerprint: string, notBeforeMs: number): Svid => ({ fingerprint, notBeforeMs }) as Svid;
    const [current, older, oldest] = [svidOf("c", 900_000), svidOf("b", 500_000), svidOf("a", 100_000)];
    const identity: IdentityState = {
      kind: "serving",
      snapshot: { generation: 3, svids: [current], bundles: new Map() },
    };
    const svidsInUse = new Map([
      [oldest, 1],
      [older, 2],
      [current, 4],
    ]);
    expect(await samples(createTelemetry(), { identity, svidsInUse })).toMatchObject({
      'countersign_svid_connections{svid="current"}': 4,
      'countersign_svid_connections{svid="older"}': 3,
      countersign_svid_generations_in_use: 3,
      countersign_svid_oldest_in_use_seconds: 900,
    });
    expect(await samples(createTelemetry())).toMatchObject({ countersign_svid_oldest_in_use_seconds: 0 });
  });

  it("shows policy, audit and process", async () => {
    const policy = { version: "abc", loadedAtMs: 990_000, policies: 2, rules: 5 };
    const page = await samples(createTelemetry(), { policy, ready: true });
    expect(page).toMatchObject({
      'countersign_policy_info{version="abc"}': 1,
      countersign_policy_age_seconds: 10,
      countersign_policies: 2,
      countersign_policy_rules: 5,
      countersign_audit_queue: 3,
      countersign_audit_queue_capacity: 8,
      countersign_audit_healthy: 1,
      countersign_audit_records_total: 20,
      countersign_audit_bytes_total: 1000,
      countersign_audit_dropped_total: 2,
      countersign_audit_refusals_folded_total: 5,
      countersign_ready: 1,
    });
    expect(page.process_resident_memory_bytes).toBeGreaterThan(1e6);
    expect(page.process_cpu_seconds_total).toBeGreaterThan(0);
    expect(page['countersign_event_loop_lag_seconds{quantile="1"}']).toBeGreaterThanOrEqual(0);
  });

  it("shows where keys come from and how providers answer", async () => {
    const from = "https://idp.example/jwks";
    const keySources = [{ from, keys: 2, loadedAtMs: 940_000, fetches: 5, failures: 1 }];
    const providers = [{ name: "opa", allowed: 3, denied: 2, failed: 1 }];
    expect(await samples(createTelemetry(), { keySources, providers })).toMatchObject({
      [`countersign_jwks_keys{from="${from}"}`]: 2,
      [`countersign_jwks_age_seconds{from="${from}"}`]: 60,
      [`countersign_jwks_fetches_total{from="${from}"}`]: 5,
      [`countersign_jwks_fetch_failures_total{from="${from}"}`]: 1,
      'countersign_ext_authz_checks_total{provider="opa",result="allowed"}': 3,
      'countersign_ext_authz_checks_total{provider="opa",result="denied"}': 2,
      'countersign_ext_authz_checks_total{provider="opa",result="failed"}': 1,
    });
  });

  it("counts nothing twice when it is read twice", async () => {
    const telemetry = createTelemetry();
    telemetry.recordCall(callOutcome());
    const page = await createMetricsPage(telemetry, () => state, fakeClock(), "1.2.3");
    await page.render();
    expect(await page.render()).toContain('code="default"} 1\n');
    page.close();
  });
});
