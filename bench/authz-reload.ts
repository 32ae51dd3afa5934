// What calls notice of a reload of 10 000 rules: response times at a fixed rate, before reloads and while one is under way.
import { writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { istioYaml, pathOf } from "./authz-rules.ts";
import { percentile } from "./load-report.ts";
import { policyFileOf } from "./peers/countersign.ts";
import type { Mesh } from "./peers/peer.ts";
import { type Child, type Children, waitUntilReady } from "./processes.ts";

const CONNECTIONS = 20;
const WARM_UP_SECONDS = 2;
const QUIET_SECONDS = 12;
/** Between two reloads. */
const PAUSE_MS = 500;

export interface ReloadReport {
  /** From the file's change to the new policies in force, each. */
  readonly tookMs: readonly number[];
  readonly quiet: { readonly calls: number; readonly p50Us: number; readonly p99Us: number };
  readonly during: { readonly calls: number; readonly p50Us: number; readonly p99Us: number };
  readonly errors: number;
}

interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Calls the outbound at `rate` a second while the inbound, a Countersign that runs, gets other policies `times` times. */
export async function measureReloads(
  children: Children,
  mesh: Mesh,
  inbound: Child,
  { rules, rate, times }: { readonly rules: number; readonly rate: number; readonly times: number },
): Promise<ReloadReport> {
  const log = join(mesh.dir, "reload-calls.log");
  const startedAt = Date.now();
  const load = await children.start(
    "h2load",
    "h2load",
    [
      "--h1",
      `-c${CONNECTIONS}`,
      "-m1",
      `-D${600}`,
      `--rps=${rate / CONNECTIONS}`,
      `--log-file=${log}`,
      `http://127.0.0.1:${mesh.ports.outbound}${pathOf(rules - 1)}`,
    ],
    { stdout: "keep" },
  );
  await delay((WARM_UP_SECONDS + QUIET_SECONDS) * 1_000);
  const reloads: Span[] = [];
  for (let i = 0; i < times; i++) {
    reloads.push(await reload(mesh, inbound, istioYaml(rules, `-${i}`)));
    await delay(PAUSE_MS);
  }
  await load.stop();
  const quiet: Span = {
    fromMs: startedAt + WARM_UP_SECONDS * 1_000,
    toMs: startedAt + (WARM_UP_SECONDS + QUIET_SECONDS) * 1_000 - 100,
  };
  const calls = await readCalls(log);
  return {
    tookMs: reloads.map(({ fromMs, toMs }) => toMs - fromMs),
    quiet: summary(calls, [quiet]),
    during: summary(calls, reloads),
    errors: calls.filter(({ status }) => status !== 200).length,
  };
}

/** As users do it: the file is written, and the sidecar sees that. */
async function reload(mesh: Mesh, inbound: Child, text: string): Promise<Span> {
  const loadedBefore = lastLoaded(inbound);
  const fromMs = Date.now();
  writeFileSync(policyFileOf(mesh), text);
  await waitUntilReady(inbound, () => lastLoaded(inbound) !== loadedBefore, 60_000);
  return { fromMs, toMs: lastLoaded(inbound) };
}

/** When the last set of policies came into force, by its line in the log; 0: none did. */
function lastLoaded(inbound: Child): number {
  const line = inbound
    .stderrTail()
    .split("\n")
    .findLast((one) => one.includes('"policy.loaded"'));
  return line === undefined ? 0 : Number(new Date((JSON.parse(line) as { readonly time: string | number }).time));
}

interface Call {
  readonly startMs: number;
  readonly endMs: number;
  readonly status: number;
}

/** h2load's log: start in microseconds since 1970, status, microseconds. */
async function readCalls(log: string): Promise<readonly Call[]> {
  const lines = (await readFile(log, "latin1")).split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    const [start = 0, status = 0, took = 0] = line.split("\t").map(Number);
    return { startMs: start / 1e3, endMs: (start + took) / 1e3, status };
  });
}

/** Of the calls that were under way in one of the spans. */
function summary(calls: readonly Call[], spans: readonly Span[]): ReloadReport["quiet"] {
  const inside = calls.filter(({ startMs, endMs }) =>
    spans.some(({ fromMs, toMs }) => startMs < toMs && endMs > fromMs),
  );
  const took = Float64Array.from(inside, ({ startMs, endMs }) => (endMs - startMs) * 1e3);
  return { calls: took.length, p50Us: percentile(took, 0.5), p99Us: percentile(took, 0.99) };
}
