import { availableParallelism } from "node:os";
import type { StatusWorker } from "../admin/status-document.ts";
import type { RunningAuditLog } from "../audit/audit-log.ts";
import type { AuditCells } from "../audit/shared-places.ts";
import type { SidecarConfig } from "../config/sidecar-config.ts";
import type { CountersignError } from "../core/errors.ts";
import type { IdentitySource } from "../core/identity.ts";
import { type Sidecar, startSidecar } from "../proxy/sidecar.ts";
import { svidsInUse } from "../proxy/svid-use.ts";
import type { PolicyInputs } from "../proxy/workers/messages.ts";
import type { createLogger } from "../telemetry/logger.ts";
import type { MetricsState } from "../telemetry/metrics-page.ts";
import type { Telemetry, TelemetryCounts } from "../telemetry/telemetry.ts";
import type { Compiled } from "./sidecar-policies.ts";

/** What carries the traffic: the main thread itself, or several workers. */
export interface DataPlane extends Pick<Sidecar, "listeners" | "overloaded" | "keySources" | "providers" | "drain"> {
  readonly hasWorkers: boolean;
  readonly counts: TelemetryCounts;
  readonly svidsInUse: NonNullable<MetricsState["svidsInUse"]>;
  /** Of event loops besides the main thread's. */
  readonly lag: NonNullable<MetricsState["lag"]>;
  /** Absent: there are none. */
  readonly workers: readonly StatusWorker[] | undefined;
  /** Why it does not serve as a whole. */
  readonly problems: readonly CountersignError[];
  /** Resolves when it cannot go on. */
  readonly lost: Promise<CountersignError>;
  /** Brings what is shown above up to date; undefined: it is. */
  refresh(): Promise<void> | undefined;
  /** The identity source has another state. */
  onIdentity(): void;
  /** Puts policies in force; undefined: they are. Rejects, or throws, when nothing has changed. */
  setPolicy(policies: Compiled): Promise<void> | undefined;
  /** Puts a configuration in force: all of it or, rejecting, nothing. */
  setConfig(config: SidecarConfig, policies: Compiled): Promise<void>;
}

export interface DataPlaneParts {
  readonly config: SidecarConfig;
  readonly policies: Compiled;
  readonly identity: IdentitySource;
  readonly audit: RunningAuditLog;
  /** Shared with workers. undefined: the main thread serves. */
  readonly cells: AuditCells | undefined;
  readonly telemetry: Telemetry;
  readonly log: ReturnType<typeof createLogger>;
  /** `problems` may be other ones. */
  readonly onChange: () => void;
}

/** How many threads a configuration asks for; 1: none besides the main one. */
export function workerCount({ workers }: Pick<SidecarConfig, "workers">): number {
  if (workers > 0) return workers;
  // only Linux lets several threads listen at one socket in the way that we do it
  return process.platform === "linux" ? availableParallelism() : 1;
}

/** Rejects with CountersignError E_LISTEN when a listener can't be opened, CountersignErrors when a worker can't start. */
export function startDataPlane(parts: DataPlaneParts): Promise<DataPlane> {
  return parts.cells === undefined ? startHere(parts) : startWorkers(parts, parts.cells);
}

async function startHere({ telemetry, policies, ...parts }: DataPlaneParts): Promise<DataPlane> {
  const sidecar = await startSidecar({ ...parts, policy: policies.policy, recorder: telemetry });
  return {
    hasWorkers: false,
    get listeners() {
      return sidecar.listeners;
    },
    get overloaded() {
      return sidecar.overloaded;
    },
    get keySources() {
      return sidecar.keySources;
    },
    get providers() {
      return sidecar.providers;
    },
    counts: telemetry,
    get svidsInUse() {
      return svidsInUse();
    },
    lag: [],
    workers: undefined,
    problems: [],
    // oxlint-disable-next-line no-promise-executor-return -- a thread that throws ends its process by itself
    lost: new Promise(() => undefined),
    refresh: () => undefined,
    onIdentity: () => undefined, // it listens to the source
    setPolicy({ policy }) {
      sidecar.setPolicy(policy);
      return undefined;
    },
    setConfig: (config, { policy }) => sidecar.setConfig(config, policy),
    drain: (timeoutMs) => sidecar.drain(timeoutMs),
  };
}

async function startWorkers(
  { config, policies, identity, audit, telemetry, log, onChange }: DataPlaneParts,
  cells: AuditCells,
): Promise<DataPlane> {
  const [{ startWorkerGroup }, totals, { totalTelemetry }] = await Promise.all([
    import("../proxy/workers/worker-group.ts"),
    import("../proxy/workers/total-reports.ts"),
    import("../telemetry/telemetry-totals.ts"),
  ]);
  const group = await startWorkerGroup({
    entry: workerEntry(),
    workers: workerCount(config),
    config,
    policies: inputsOf(policies),
    identity,
    audit,
    cells,
    log,
    onChange,
  });
  const reports = (): ReturnType<typeof allReports> => allReports(group);
  return {
    hasWorkers: true,
    get listeners() {
      return totals.totalListeners(reports());
    },
    get overloaded() {
      return reports().some(({ overloaded }) => overloaded);
    },
    get keySources() {
      return totals.totalKeySources(reports());
    },
    get providers() {
      return totals.totalProviders(reports());
    },
    counts: totalTelemetry(telemetry, () => reports().map((report) => report.telemetry)),
    get svidsInUse() {
      return totals.totalSvidsInUse(reports());
    },
    get lag() {
      return reports().map(({ lag }) => lag);
    },
    get workers() {
      return group.views.map(({ worker, answering, report }) => ({
        worker,
        answering,
        connections: report.listeners.reduce((sum, { connections }) => sum + connections, 0),
        calls: report.calls,
        callsEnded: report.telemetry.calls.reduce((sum, { count }) => sum + count, 0),
        policyVersion: report.policyVersion,
        identity: report.identity,
      }));
    },
    get problems() {
      return group.problems;
    },
    lost: group.lost,
    refresh: () => group.refresh(),
    onIdentity: () => group.sendIdentity(),
    setPolicy: (next) => group.setPolicies(inputsOf(next)),
    setConfig: (next, compiled) => group.setConfig(next, inputsOf(compiled)),
    drain: (timeoutMs) => group.drain(timeoutMs),
  };
}

function allReports(group: Awaited<ReturnType<typeof import("../proxy/workers/worker-group.ts").startWorkerGroup>>) {
  return group.views.map(({ report }) => report);
}

/** Without the compiled policy, which holds functions and can't be posted. */
function inputsOf({ files, options, packed }: Compiled): PolicyInputs {
  return { files, options, packed };
}

/** The bundle is one file, which finds out by itself that it runs in a worker (bin.ts). */
function workerEntry(): URL {
  const isSource = import.meta.url.endsWith(".ts");
  return isSource ? new URL("sidecar-worker.ts", import.meta.url) : new URL(import.meta.url);
}
