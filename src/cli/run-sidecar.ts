import { readFile } from "node:fs/promises";
import { type RunningAdmin, startAdmin } from "../admin/admin.ts";
import { notReadyReasons, type StatusInput, statusDocument } from "../admin/status-document.ts";
import { createAuditLog, type RunningAuditLog } from "../audit/audit-log.ts";
import type { IdentityLogEntry } from "../certs/identity-log.ts";
import { createIdentitySource } from "../certs/identity-source.ts";
import { loadSidecarConfig, parseSidecarConfig } from "../config/load-sidecar-config.ts";
import { readPolicyFiles } from "../config/policy-source.ts";
import type { SidecarConfig } from "../config/sidecar-config.ts";
import { type FilesChange, type FilesWatch, watchConfigFile, watchPolicyFiles } from "../config/watch-files.ts";
import { CountersignError, CountersignErrors, formatError } from "../core/errors.ts";
import type { IdentityState } from "../core/identity.ts";
import { trustDomainOf } from "../core/spiffe-id.ts";
import { type Sidecar, startSidecar } from "../proxy/sidecar.ts";
import { systemClock } from "../sys/system-clock.ts";
import { createLogger } from "../telemetry/logger.ts";
import { createMetricsPage, type MetricsPage, type MetricsState } from "../telemetry/metrics-page.ts";
import { createTelemetry } from "../telemetry/telemetry.ts";
import type { CliIo } from "./cli-io.ts";
import { restartProblems } from "./restart-problems.ts";
import { createSidecarPolicies, type SidecarPolicies } from "./sidecar-policies.ts";
import { countersignVersion } from "./version.ts";

/** Runs one sidecar until the signal: 0 when every call ended by itself, 1 when the drain deadline cut some or the start failed, 2 when
 *  the configuration or the policies are invalid. */
export async function runSidecar(file: string, io: CliIo): Promise<number> {
  const started = await readAll(file, io);
  if (started === undefined) return 2;
  const { config, policies } = started;
  const log = createLogger(config.logLevel);
  for (const warning of started.warnings)
    log.warn({ event: "config.warning", code: warning.code }, formatError(warning));
  const telemetry = createTelemetry();
  const audit = createAuditLog(config.audit, systemClock, log);
  await audit.opened;
  const stop = new AbortController();

  const onIdentityEntry = ({ level, event, message, fields }: IdentityLogEntry): void => {
    log[level]({ event, ...fields }, message);
    if (event === "identity.rotated") telemetry.identityRotated();
    // the source may speak while it is being made, before its state can be asked
    if (event === "identity.loaded" || event === "identity.rotated") {
      queueMicrotask(() => recordIdentity(audit, event, identity.state));
    }
  };
  const identity = createIdentitySource(config.identity, systemClock, onIdentityEntry);
  let sidecar: Sidecar | undefined;
  let admin: RunningAdmin | undefined;
  let metrics: MetricsPage | undefined;
  let isDraining = false;
  let wasReady = false;
  let reloadError: CountersignErrors | undefined;
  const startedMs = systemClock.nowMs();
  const version = countersignVersion();
  const policyStatus = (): StatusInput["policy"] => {
    const { policy, loadedAtMs } = policies.state;
    return { version: policy.version, loadedAtMs, policies: policy.policyCount, rules: policy.ruleCount };
  };
  const statusInput = (): StatusInput => ({
    version,
    startedMs,
    nowMs: systemClock.nowMs(),
    started: sidecar !== undefined,
    draining: isDraining,
    identity: { description: identity.description, state: identity.state },
    listeners: sidecar?.listeners ?? [],
    policy: policyStatus(),
    reloadError,
    audit: audit.state,
  });
  const sayReady = (): void => {
    const reasons = notReadyReasons(statusInput());
    const now = reasons.length === 0;
    if (now && !wasReady) log.info({ event: "ready" }, "ready");
    if (!now && wasReady) log.warn({ event: "not-ready", reasons }, "not ready");
    wasReady = now;
  };

  let current = config;
  let policyWatch: FilesWatch | undefined;
  let watching = new AbortController();
  const watchPolicies = (): void => {
    watching.abort();
    watching = new AbortController();
    const signal = AbortSignal.any([watching.signal, stop.signal]);
    policyWatch = watchPolicyFiles(current.policies, {
      initial: policies.files,
      clock: systemClock,
      onChange: onPolicyFiles,
      signal,
    });
  };
  const policyFailed = (error: CountersignErrors): void => {
    reloadError = error;
    telemetry.reloadFailed("policy");
    log.error(
      { event: "policy.rejected", errors: error.errors.map(formatError) },
      "new policies are invalid; the old ones stay",
    );
    audit.event({ kind: "policy", reason: "policy.rejected", detail: `${error.errors.length} errors` });
  };
  const policyLoaded = (): void => {
    const { policy, warnings } = policies.state;
    for (const warning of warnings) log.warn({ event: "policy.warning", code: warning.code }, formatError(warning));
    log.info(
      { event: "policy.loaded", version: policy.version, policies: policy.policyCount, rules: policy.ruleCount },
      "policies in force",
    );
    audit.event({ kind: "policy", reason: "policy.loaded", policyVersion: policy.version });
  };
  function onPolicyFiles(change: FilesChange): void {
    if (change.kind === "failed") {
      policyFailed(change.error);
      return;
    }
    try {
      sidecar?.setPolicy(policies.load({ files: change.files }).policy);
      reloadError = undefined;
      policyLoaded();
    } catch (error) {
      policyFailed(asErrors(error));
    }
  }

  const unsubscribe = identity.subscribe((state) => {
    adoptTrustDomain(state, policies, sidecar);
    sayReady();
  });
  audit.subscribe(sayReady);
  try {
    // an identity that came before the listeners decides which trust domain is ours
    adoptTrustDomain(identity.state, policies, undefined);
    sidecar = await startSidecar({ config, policy: policies.state.policy, identity, audit, recorder: telemetry, log });
    if (config.metrics !== undefined) {
      const state = (): MetricsState => ({
        identity: identity.state,
        policy: policyStatus(),
        audit: audit.state,
        ready: notReadyReasons(statusInput()).length === 0,
      });
      metrics = await createMetricsPage(telemetry, state, systemClock, version);
    }
    admin = await startAdmin(config, {
      status: () => statusDocument(statusInput()),
      metrics: async () => {
        if (metrics === undefined) throw new TypeError("metrics are off");
        return { contentType: metrics.contentType, body: await metrics.render() };
      },
      onError: (error) => log.error({ event: "admin.error", err: error }, "a control page failed"),
    });
  } catch (error) {
    log.error({ event: "stopped", err: error }, "could not start");
    io.err(`${error instanceof CountersignError ? formatError(error) : String(error)}\n`);
    await sidecar?.drain(0);
    identity.close();
    await audit.close();
    return 1;
  }
  audit.event({ kind: "lifecycle", reason: "started", policyVersion: policies.state.policy.version });
  policyLoaded();
  sayReady();
  watchPolicies();

  const configFailed = (error: CountersignErrors): void => {
    reloadError = error;
    telemetry.reloadFailed("config");
    log.error(
      { event: "config.rejected", errors: error.errors.map(formatError) },
      "the new configuration is invalid; the old one stays",
    );
    audit.event({ kind: "lifecycle", reason: "config.rejected", detail: `${error.errors.length} errors` });
  };
  const configWatch = watchConfigFile(file, {
    initial: [{ file, text: started.text }],
    clock: systemClock,
    signal: stop.signal,
    onChange: (change) => {
      if (change.kind === "failed") configFailed(change.error);
      else reloads = reloads.then(() => adoptConfig(change.files[0]?.text ?? ""));
    },
  });
  /** Reloads one after another: two at once could interleave their listeners. */
  let reloads: Promise<void> = Promise.resolve();
  async function adoptConfig(text: string): Promise<void> {
    try {
      const { config: next } = parseSidecarConfig(text, file, io.env);
      const problems = restartProblems(current, next);
      if (problems.length > 0) throw new CountersignErrors(problems);
      const files = await readPolicyFiles(next.policies);
      const { policy } = policies.load({ config: next, files });
      await sidecar?.setConfig(next, policy);
      current = next;
      reloadError = undefined;
      log.level = next.logLevel;
      watchPolicies();
      log.info({ event: "config.loaded" }, "configuration in force");
      policyLoaded();
    } catch (error) {
      configFailed(asErrors(error));
    }
  }
  const onHangup = (): void => {
    log.info({ event: "reload" }, "SIGHUP");
    void configWatch.reloadNow().then(() => policyWatch?.reloadNow());
  };
  process.on("SIGHUP", onHangup);

  await aborted(io.signal);
  process.removeListener("SIGHUP", onHangup);
  isDraining = true;
  log.info({ event: "draining", timeoutMs: current.drainTimeoutMs }, "draining");
  stop.abort();
  const cut = await sidecar.drain(current.drainTimeoutMs);
  unsubscribe();
  identity.close();
  audit.event({ kind: "lifecycle", reason: "stopped", detail: `${cut} calls cut` });
  await audit.close();
  await admin.close();
  metrics?.close();
  log.info({ event: "stopped", cut }, "stopped");
  return cut === 0 ? 0 : 1;
}

interface Started {
  readonly config: SidecarConfig;
  readonly policies: SidecarPolicies;
  readonly warnings: Awaited<ReturnType<typeof loadSidecarConfig>>["warnings"];
  readonly text: string;
}

/** Configuration and policies, or undefined after printing all that is wrong with them. */
async function readAll(file: string, io: CliIo): Promise<Started | undefined> {
  try {
    const { config, warnings } = await loadSidecarConfig(file, io.env);
    // only for the watch to compare with: a change in between is noticed as one
    const text = await readFile(file, "utf8");
    const files = await readPolicyFiles(config.policies);
    return { config, policies: createSidecarPolicies(config, files, () => systemClock.nowMs()), warnings, text };
  } catch (error) {
    if (!(error instanceof CountersignErrors)) throw error;
    io.err(`${error.errors.map(formatError).join("\n")}\n`);
    return undefined;
  }
}

/** What `cluster.local` and the aliases stand for is known once an SVID says which trust domain is ours. */
function adoptTrustDomain(state: IdentityState, policies: SidecarPolicies, sidecar: Sidecar | undefined): void {
  if (state.kind !== "serving" && state.kind !== "stale") return;
  const localTrustDomain = trustDomainOf(state.snapshot.svids[0].spiffeId);
  if (policies.localTrustDomain === localTrustDomain) return;
  const { policy } = policies.load({ localTrustDomain });
  sidecar?.setPolicy(policy);
}

function recordIdentity(audit: RunningAuditLog, event: string, state: IdentityState): void {
  if (state.kind !== "serving" && state.kind !== "stale") return;
  const [svid] = state.snapshot.svids;
  const { spiffeId, serial, notAfterMs, chain } = svid;
  audit.event({
    kind: "identity",
    reason: event,
    source: { spiffeId, serial, notAfterMs, issuer: chain[0]?.issuer ?? "" },
  });
}

function asErrors(error: unknown): CountersignErrors {
  if (error instanceof CountersignErrors) return error;
  if (error instanceof CountersignError) return new CountersignErrors([error]);
  throw error;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
