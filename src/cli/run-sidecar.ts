import type { AdminProviders } from "../admin/admin.ts";
import { notReadyReasons, type StatusInput, statusDocument } from "../admin/status-document.ts";
import { createAuditLog, type RunningAuditLog } from "../audit/audit-log.ts";
import { createAuditCells } from "../audit/shared-places.ts";
import type { IdentityLogEntry } from "../certs/identity-log.ts";
import { createIdentitySource } from "../certs/identity-source.ts";
import { createSwappableSource } from "../certs/swappable-source.ts";
import { loadSidecarConfig } from "../config/load-sidecar-config.ts";
import { newestThatFit } from "../config/newest-that-fit.ts";
import { openPolicySet, type PolicySet } from "../config/policy-set.ts";
import type { SidecarConfig } from "../config/sidecar-config.ts";
import { formatAddress } from "../config/yaml-addresses.ts";
import { CountersignError, CountersignErrors, formatError } from "../core/errors.ts";
import type { IdentitySource, IdentityState, Svid } from "../core/identity.ts";
import { dropStartPages } from "../sys/drop-start-pages.ts";
import { returnFreeMemory } from "../sys/return-memory.ts";
import { systemClock } from "../sys/system-clock.ts";
import { createLogger } from "../telemetry/logger.ts";
import { createMetricsPage, type MetricsPage, type MetricsState } from "../telemetry/metrics-page.ts";
import { createTelemetry } from "../telemetry/telemetry.ts";
import type { CliIo } from "./cli-io.ts";
import { type DataPlane, startDataPlane, workerCount } from "./data-plane.ts";
import { createFittingIdentity } from "./fitting-identity.ts";
import { identityOptionsOf } from "./identity-options.ts";
import { lockAuditFiles } from "./lock-audit-files.ts";
import { type OperationPages, openOperationPages } from "./operation-pages.ts";
import { createSidecarPolicies, type SidecarPolicies } from "./sidecar-policies.ts";
import { createReloads, type Reloads } from "./sidecar-reload.ts";
import { countersignVersion } from "./version.ts";

/** Runs one sidecar until the signal: 0 when every call ended by itself, 1 when the drain deadline cut some, the start failed or a worker
 *  was lost, 2 when the configuration or the policies are invalid. */
export async function runSidecar(file: string, io: CliIo): Promise<number> {
  const started = await readAll(file, io);
  if (started === undefined) return io.signal.aborted ? 0 : 2;
  const { config, policies } = started;
  const log = createLogger(config.logLevel);
  for (const warning of started.warnings)
    log.warn({ event: "config.warning", code: warning.code }, formatError(warning));
  const telemetry = createTelemetry();
  let reloads: Reloads | undefined;
  // before anything says that we are there: a SIGHUP without a handler would end the process
  const onHangup = (): void => reloads?.reloadNow();
  process.on("SIGHUP", onHangup);
  let unlock: () => void;
  try {
    unlock = lockAuditFiles(config.audit.sinks.flatMap((sink) => (sink.kind === "file" ? [sink.path] : [])));
  } catch (error) {
    if (!(error instanceof CountersignError)) throw error;
    io.err(`${formatError(error)}\n`);
    return 1;
  }
  const workers = workerCount(config);
  const cells = workers === 1 ? undefined : createAuditCells(workers);
  const audit = createAuditLog(config.audit, systemClock, log, process.stdout, cells);
  await audit.opened;
  const stop = new AbortController();

  const onIdentityEntry = ({ level, event, message, fields }: IdentityLogEntry): void =>
    log[level]({ event, ...fields }, message);
  const openIdentity = (from: SidecarConfig): IdentitySource =>
    createIdentitySource(identityOptionsOf(from), systemClock, onIdentityEntry);
  const identity = createSwappableSource(openIdentity(config));
  /** What the data plane has of it. */
  const served = createFittingIdentity(identity, () => policies.localTrustDomain, systemClock.nowMs());
  let ownSvid: Svid | undefined;
  /** Another SVID than before is an event of the audit log, whichever source it comes from. */
  const noticeSvid = (state: IdentityState): void => {
    const now = "snapshot" in state ? state.snapshot.svids[0] : undefined;
    if (now !== undefined && now.fingerprint !== ownSvid?.fingerprint) {
      if (ownSvid !== undefined) telemetry.identityRotated();
      recordIdentity(audit, ownSvid === undefined ? "identity.loaded" : "identity.rotated", now);
    }
    ownSvid = now;
  };
  let sidecar: DataPlane | undefined;
  let pages: OperationPages | undefined;
  let metrics: Promise<MetricsPage> | undefined;
  let isDraining = false;
  let wasReady = false;
  /** The data plane gets each new policy. */
  let hasNewest = false;
  const { env } = io;
  const active = createReloads({
    file,
    env,
    config,
    text: started.text,
    policies,
    set: started.set,
    log,
    telemetry,
    audit,
    identity,
    openIdentity,
    pages: () => pages,
    clock: systemClock,
    onPolicies: () => {
      serveByNewest();
      sayReady();
    },
    signal: io.signal,
  });
  reloads = active;
  const startedMs = systemClock.nowMs();
  const version = countersignVersion();
  const policyStatus = (): StatusInput["policy"] => {
    const { policy, loadedAtMs } = policies.state;
    const counts = { policies: policy.policyCount, rules: policy.ruleCount };
    return { version: policy.version, loadedAtMs, ...counts, sources: active.policySources };
  };
  const statusInput = (): StatusInput => ({
    version,
    startedMs,
    nowMs: systemClock.nowMs(),
    started: sidecar !== undefined,
    draining: isDraining,
    identity,
    wantedHints: wantedHints(active.config),
    listeners: sidecar?.listeners ?? [],
    policy: policyStatus(),
    keySources: sidecar?.keySources ?? [],
    providers: sidecar?.providers ?? [],
    reloadError: active.error,
    audit: audit.state,
    problems: [...(sidecar?.problems ?? []), ...active.problems],
    workers: sidecar?.workers,
  });
  let trimmed = false;
  const sayReady = (): void => {
    const reasons = notReadyReasons(statusInput());
    const now = reasons.length === 0;
    if (now && !wasReady) {
      log.info({ event: "ready" }, "ready");
      if (!trimmed)
        systemClock.after(START_OVER_MS, () => {
          returnFreeMemory();
          void dropStartPages();
        });
      trimmed = true;
    }
    if (!now && wasReady) log.warn({ event: "not-ready", reasons }, "not ready");
    wasReady = now;
  };

  /** Identity follows policies: it goes to a data plane that has the policies which it fits. */
  const serveByNewest = (): void => {
    if (!hasNewest) return;
    served.look();
    sidecar?.onIdentity();
  };
  const unsubscribe = identity.subscribe((state) => {
    noticeSvid(state);
    const policiesForIt = active.adoptIdentity(state);
    serveByNewest();
    // a failure has been dealt with there
    void policiesForIt?.then(sayReady);
    sayReady();
  });
  audit.subscribe(sayReady);
  let startedWith = policies.compiled;
  try {
    // an identity that came before the listeners decides which trust domain is ours
    noticeSvid(identity.state);
    await active.adoptIdentity(identity.state); // nothing serves yet
    served.look();
    startedWith = policies.compiled;
    const parts = { config, policies: startedWith, identity: served, audit, cells, telemetry, log, onChange: sayReady };
    sidecar = await startDataPlane(parts);
    const plane = sidecar;
    const metricsState = (): MetricsState => ({
      identity: identity.state,
      policy: policyStatus(),
      keySources: sidecar?.keySources ?? [],
      providers: sidecar?.providers ?? [],
      upstreams: sidecar?.listeners ?? [],
      overloaded: sidecar?.overloaded === true,
      audit: audit.state,
      ready: notReadyReasons(statusInput()).length === 0,
      svidsInUse: plane.svidsInUse,
      lag: plane.lag,
    });
    const providers: AdminProviders = {
      status: async () => {
        await plane.refresh();
        return statusDocument(statusInput());
      },
      metrics: async () => {
        await plane.refresh();
        // made with the first request, so that a sidecar without metrics doesn't carry the library
        metrics ??= createMetricsPage(plane.counts, metricsState, systemClock, version);
        const page = await metrics;
        return { contentType: page.contentType, body: await page.render() };
      },
      onError: (error) => log.error({ event: "admin.error", err: error }, "a control page failed"),
    };
    pages = await openOperationPages(config, providers, (name, address) =>
      log.info({ event: "listening", name, address: formatAddress(address) }),
    );
    // what came meanwhile
    while (policies.state.policy !== startedWith.policy) {
      startedWith = policies.compiled;
      await sidecar.setPolicy(startedWith);
    }
  } catch (error) {
    log.error({ event: "stopped", err: error }, "could not start");
    io.err(`${startProblem(error)}\n`);
    await sidecar?.drain(0);
    identity.close();
    await audit.close();
    unlock();
    return 1;
  }
  let wasLost = false;
  void sidecar.lost.then(() => {
    wasLost = true;
  });
  audit.event({ kind: "lifecycle", reason: "started", policyVersion: policies.state.policy.version });
  active.announce();
  active.start(sidecar, stop.signal);
  hasNewest = true;
  serveByNewest();
  sayReady();
  if (identity.state.kind === "waiting")
    log.info({ event: "identity.waiting", source: identity.description }, "not ready: waits for the first SVID");

  await Promise.race([aborted(io.signal), sidecar.lost]);
  process.removeListener("SIGHUP", onHangup);
  isDraining = true;
  const { drainTimeoutMs } = active.config;
  log.info({ event: "draining", timeoutMs: drainTimeoutMs }, "draining");
  stop.abort();
  const cut = await sidecar.drain(drainTimeoutMs);
  unsubscribe();
  identity.close();
  audit.event({ kind: "lifecycle", reason: "stopped", detail: `${cut} calls cut` });
  await audit.close();
  unlock();
  await pages.close();
  (await metrics)?.close();
  log.info({ event: "stopped", cut }, "stopped");
  return cut === 0 && !wasLost ? 0 : 1;
}

function startProblem(error: unknown): string {
  if (error instanceof CountersignErrors) return error.errors.map(formatError).join("\n");
  return error instanceof CountersignError ? formatError(error) : String(error);
}

interface Started {
  readonly config: SidecarConfig;
  readonly policies: SidecarPolicies;
  readonly set: PolicySet;
  readonly warnings: Awaited<ReturnType<typeof loadSidecarConfig>>["warnings"];
  readonly text: string;
}

/** How long after it is ready a sidecar's start is over. */
const START_OVER_MS = 2000;

/** Configuration and policies, or undefined after printing all that is wrong with them, or when it was called off. */
async function readAll(file: string, io: CliIo): Promise<Started | undefined> {
  try {
    const { config, warnings, text } = await loadSidecarConfig(file, io.env);
    const set = await openPolicySet(config, systemClock, { signal: io.signal });
    const nowMs = (): number => systemClock.nowMs();
    const { compiled: policies, settle } = await newestThatFit(set.candidates, (files) =>
      createSidecarPolicies(config, files, nowMs, io.signal),
    );
    settle();
    return { config, policies, set, warnings, text };
  } catch (error) {
    if (!(error instanceof CountersignErrors)) throw error;
    if (!io.signal.aborted) io.err(`${error.errors.map(formatError).join("\n")}\n`);
    return undefined;
  }
}

/** Hints that listeners ask for, each with one that does. */
function wantedHints({ inbound, outboundAsWritten }: SidecarConfig): ReadonlyMap<string, string> {
  const wanted = [...inbound, ...outboundAsWritten].filter(({ svidHint }) => svidHint !== "");
  return new Map(wanted.map(({ svidHint, name }) => [svidHint, name]));
}

function recordIdentity(audit: RunningAuditLog, reason: string, svid: Svid): void {
  const { spiffeId, serial, notAfterMs, chain } = svid;
  const issuer = (chain[0]?.issuer ?? "").replaceAll("\n", ", ");
  audit.event({ kind: "identity", reason, source: { spiffeId, serial, notAfterMs, issuer } });
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
