import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { auditRecord, auditRecords, finalRecords } from "../support/audit-records.ts";
import { type CountersignProcesses, countersignProcesses } from "../support/countersign-process.ts";
import { type SidecarPair, startPair } from "../support/sidecar-pair.ts";

let dir: string;
let processes: CountersignProcesses;
let cleanups: (() => Promise<void>)[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "countersign-run-"));
  processes = countersignProcesses();
  cleanups = [];
});
afterEach(async () => {
  await processes.close();
  for (const cleanup of cleanups) await cleanup();
  rmSync(dir, { recursive: true });
});

async function pair(
  handler: Parameters<typeof startApp>[0] = (_, response) => response.end("hello"),
  more?: string,
): Promise<SidecarPair> {
  const app = await startApp(handler);
  cleanups.push(() => app.close());
  return startPair({ dir, processes, appPort: app.port, ...(more === undefined ? {} : { more }) });
}

const audit = (role: string): string => join(dir, `${role}.jsonl`);
const page = (role: string, name: string, path: string): ReturnType<typeof ask> =>
  ask(join(dir, `${role}-${name}.sock`), path);

describe("countersign run", () => {
  it("carries calls through two sidecars, with exactly one final record each on either side", async () => {
    const { orders, web, port } = await pair();
    const paths = Array.from({ length: 20 }, (_, i) => `/orders/${i}`);
    const answers = await Promise.all(paths.map((path) => ask(port, path)));
    expect(answers.map(({ status, body }) => `${status} ${body}`)).toEqual(paths.map(() => "200 hello"));
    web.signal("SIGTERM");
    orders.signal("SIGTERM");
    expect([(await web.ended).code, (await orders.ended).code]).toEqual([0, 0]);
    for (const role of ["orders", "web"]) {
      const calls = finalRecords(audit(role));
      expect(calls.map(({ path = "" }) => path).toSorted()).toEqual(paths.toSorted());
      expect(calls.every(({ decision, status }) => decision === "allow" && status === 200)).toBe(true);
      expect(new Set(calls.map(({ id }) => id)).size).toBe(paths.length);
      const all = auditRecords(audit(role));
      expect(all.map(({ seq }) => seq)).toEqual(all.map((_, i) => i + 1));
    }
  });

  it("answers /livez, /readyz and /metrics, which count calls by verdict", async () => {
    const { port } = await pair();
    expect(await page("orders", "health", "/livez")).toMatchObject({ status: 200 });
    expect(await page("orders", "health", "/readyz")).toMatchObject({ status: 200 });
    const before = metricsOf((await page("orders", "metrics", "/metrics")).body);
    await ask(port, "/");
    await ask(port, "/");
    const after = metricsOf((await page("orders", "metrics", "/metrics")).body);
    const calls = 'countersign_calls_total{direction="inbound",listener="in",verdict="allow",code="rule"}';
    expect((after.get(calls) ?? 0) - (before.get(calls) ?? 0)).toBe(2);
    expect(after.get("countersign_ready")).toBe(1);
    expect(after.get('countersign_identity_state{state="serving"}')).toBe(1);
    const names = new Set(Array.from(after.keys(), (name) => name.replace(/\{.*/, "")));
    expect(documentedMetrics.filter((name) => !names.has(name))).toEqual([]);
  });

  it("goes on numbering on the same audit file after kill -9, and no line is torn", async () => {
    const { orders, port } = await pair();
    expect((await ask(port, "/before")).status).toBe(200);
    const last = await auditRecord(audit("orders"), ({ path }) => path === "/before");
    orders.signal("SIGKILL");
    expect((await orders.ended).signal).toBe("SIGKILL");
    const again = processes.run(join(dir, "orders.yaml"));
    await again.next("ready");
    again.signal("SIGTERM");
    expect((await again.ended).code).toBe(0);
    const all = auditRecords(audit("orders"));
    expect(all.map(({ seq }) => seq)).toEqual(all.map((_, i) => i + 1));
    expect(all.length).toBeGreaterThan(last.seq);
    expect(all.filter(({ path }) => path === "/before")).toHaveLength(1);
  });

  it("ends a line that a crash tore, says so, and loses nothing after it", async () => {
    const { orders } = await pair();
    orders.signal("SIGTERM");
    await orders.ended;
    const whole = auditRecords(audit("orders")).length;
    appendFileSync(audit("orders"), '{"time":"2030-01-01T00:00:00');
    const again = processes.run(join(dir, "orders.yaml"));
    await again.next("ready");
    const note = await auditRecord(audit("orders"), ({ reason }) => reason === "E_AUDIT_TORN_LINE");
    expect(note.seq).toBeGreaterThan(whole);
  });
});

describe("countersign run with a configuration that has errors", () => {
  it("exits 2 and lists all of them with place and fix", async () => {
    const file = join(dir, "countersign.yaml");
    writeFileSync(
      file,
      `identity: { workloadApi: { address: "unix://${dir}/agent.sock" } }
inbuond: []
inbound:
  - { name: in, listen: 127.0.0.1, app: "127.0.0.1:8080" }
timeouts: { connect: 5 }
workers: 1.5
`,
    );
    const { code, stdout, stderr } = await processes.run(file).ended;
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    const problems = stderr.trimEnd().split("\n");
    expect(problems.map((line) => line.replace(/^.*?(:\d+:\d+: E_[A-Z_]+) .*; fix: .+$/, "$1"))).toEqual([
      ":2:1: E_CONFIG_KEY",
      ":4:25: E_CONFIG_VALUE",
      ":5:22: E_CONFIG_VALUE",
      ":6:10: E_CONFIG_VALUE",
    ]);
    expect(problems.every((line) => line.startsWith(`${file}:`))).toBe(true);
  });

  it("exits 2 for errors of policies, in the same form", async () => {
    const file = join(dir, "countersign.yaml");
    writeFileSync(
      file,
      `identity: { workloadApi: { address: "unix://${dir}/agent.sock" } }
workload: { namespace: shop }
policies: [a.yaml, b.yaml]
`,
    );
    writeFileSync(join(dir, "a.yaml"), "kind: AuthorizationPolicy\n");
    writeFileSync(
      join(dir, "b.yaml"),
      `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: b, namespace: shop }
spec: { action: CUSTOM, provider: { name: nobody }, rules: [{ when: [{ key: experimental.x, values: [a] }] }] }
`,
    );
    const { code, stderr } = await processes.run(file).ended;
    expect(code).toBe(2);
    expect(stderr).toContain(`${join(dir, "a.yaml")}:1:1: E_POLICY_`);
    expect(stderr).toMatch(/b\.yaml:4:77: E_POLICY_UNSUPPORTED .*; fix: /);
  });
});

/** docs/operations.md; without those that appear with a first rotation or audit loss. */
const documentedMetrics = [
  "countersign_calls_total",
  "countersign_call_duration_seconds_bucket",
  "countersign_upstream_duration_seconds_bucket",
  "countersign_connections",
  "countersign_connections_total",
  "countersign_svid_expiry_timestamp_seconds",
  "countersign_svid_age_seconds",
  "countersign_identity_state",
  "countersign_svid_generation",
  "countersign_rotations_total",
  "countersign_policy_info",
  "countersign_policy_age_seconds",
  "countersign_policies",
  "countersign_policy_rules",
  "countersign_reload_failures_total",
  "countersign_audit_queue",
  "countersign_audit_queue_capacity",
  "countersign_audit_healthy",
  "countersign_audit_records_total",
  "countersign_audit_bytes_total",
  "countersign_audit_dropped_total",
  "countersign_audit_refusals_folded_total",
  "countersign_event_loop_lag_seconds",
  "countersign_ready",
  "countersign_build_info",
  "process_resident_memory_bytes",
  "process_cpu_seconds_total",
  "process_start_time_seconds",
];

/** Samples of a Prometheus text page by name and labels. */
function metricsOf(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  for (const line of text.split("\n")) {
    const space = line.lastIndexOf(" ");
    if (line !== "" && !line.startsWith("#")) samples.set(line.slice(0, space), Number(line.slice(space + 1)));
  }
  return samples;
}
