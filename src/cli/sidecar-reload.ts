import { isDeepStrictEqual } from "node:util";
import type { RunningAuditLog } from "../audit/audit-log.ts";
import type { SwappableSource } from "../certs/swappable-source.ts";
import { parseSidecarConfig } from "../config/load-sidecar-config.ts";
import { newestThatFit, type PolicyChoice } from "../config/newest-that-fit.ts";
import type { PolicySet } from "../config/policy-set.ts";
import type { PolicySourceState } from "../config/policy-set-source.ts";
import type { OpenedPolicyUrl } from "../config/policy-url-source.ts";
import type { SidecarConfig } from "../config/sidecar-config.ts";
import { type FilesChange, type FilesWatch, watchConfigFile } from "../config/watch-files.ts";
import type { Clock } from "../core/clock.ts";
import { CountersignError, CountersignErrors } from "../core/errors.ts";
import type { IdentitySource, IdentityState } from "../core/identity.ts";
import { type TrustDomain, trustDomainOf } from "../core/spiffe-id.ts";
import type { createLogger } from "../telemetry/logger.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";
import { createConfigReloads } from "./config-reloads.ts";
import type { DataPlane } from "./data-plane.ts";
import { identityOptionsOf } from "./identity-options.ts";
import { loggedErrors, logPolicyWarnings } from "./log-findings.ts";
import type { OperationPages } from "./operation-pages.ts";
import { createPolicySourceReports } from "./policy-source-reports.ts";
import { restartProblems } from "./restart-problems.ts";
import type { Compiled, PolicyChange, PreparedPolicies, SidecarPolicies } from "./sidecar-policies.ts";

export interface ReloadParts {
  readonly file: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly config: SidecarConfig;
  /** The configuration's text as it was read. */
  readonly text: string;
  readonly policies: SidecarPolicies;
  /** Where they came from; told which of its sets are in force. */
  readonly set: PolicySet;
  readonly log: ReturnType<typeof createLogger>;
  readonly telemetry: Telemetry;
  readonly audit: RunningAuditLog;
  readonly identity: SwappableSource;
  /** Starts the source that a configuration names. Throws CountersignError E_WORKLOAD_API_ADDRESS. */
  readonly openIdentity: (config: SidecarConfig) => IdentitySource;
  readonly pages: () => OperationPages | undefined;
  readonly clock: Clock;
  /** Other policies are in force, or the same for another trust domain. */
  readonly onPolicies: () => void;
  /** The sidecar stops: what fails then failed for that. */
  readonly signal: AbortSignal;
}

/** Pauses before policies are made for our trust domain once more, after they could not be. */
const [FIRST_RETRY_MS, LAST_RETRY_MS] = [1_000, 30_000];

/** Pause before newest policies are compiled once more, after the process that compiles was lost. */
const LOST_RETRY_MS = 60_000;
/** How long SIGHUP waits for a new configuration before it has the policies read again. */
const CONFIG_PATIENCE_MS = 3_000;

/** Brings new files into force while the sidecar runs. Whatever is invalid changes nothing and says so in log, metric, audit and status. */
export interface Reloads {
  /** In force now. */
  readonly config: SidecarConfig;
  /** Why the newest configuration, or the newest policies, are not in force. */
  readonly error: CountersignErrors | undefined;
  /** Why calls should not come yet. */
  readonly problems: readonly CountersignError[];
  /** Of every source of policies but files. */
  readonly policySources: readonly PolicySourceState[];
  /** What `cluster.local` and the aliases stand for is known once an SVID says which trust domain is ours. Returns what has to come before
   *  workers hear of the state: policies made for it. Never rejects. */
  adoptIdentity(state: IdentityState): Promise<void> | undefined;
  /** Says which policies are in force. */
  announce(): void;
  /** Begins to watch and to apply to this sidecar. */
  start(sidecar: DataPlane, signal: AbortSignal): void;
  /** SIGHUP: reads everything again now. */
  reloadNow(): void;
}

export function createReloads(parts: ReloadParts): Reloads {
  const { file, env, policies, log, telemetry, audit, identity, clock } = parts;
  let { config } = parts;
  let sidecar: DataPlane | undefined;
  let stop: AbortSignal | undefined;
  let configError: CountersignErrors | undefined;
  let policyError: CountersignErrors | undefined;
  let configWatch: FilesWatch | undefined;
  let policyWatch: FilesWatch | undefined;
  let { set } = parts;
  const sources = createPolicySourceReports(log, telemetry, audit);
  /** Why newest sets were held back, as it was last spoken of. */
  let heldBack: string | undefined;
  let watching = new AbortController();
  /** Of our SVID: every set that is made from now on is made for it. */
  let wanted: TrustDomain | undefined;
  /** The trust domain for which policies are being made. */
  let adopting: TrustDomain | undefined;
  let retryMs = FIRST_RETRY_MS;
  let callOffRetry = (): void => undefined;
  let callOffLost = (): void => undefined;
  parts.signal.addEventListener(
    "abort",
    () => {
      callOffRetry();
      callOffLost();
    },
    { once: true },
  );
  /** Reloads one after another: two at once could interleave their listeners. */
  let turn: Promise<void> = Promise.resolve();
  /** How many have not had theirs. */
  let waiting = 0;

  function takeTurn(reload: () => Promise<void> | void): Promise<void> {
    waiting++;
    turn = turn.then(reload).finally(() => {
      waiting--;
    });
    return turn;
  }
  function announce(): void {
    const { policy, warnings } = policies.state;
    logPolicyWarnings(log, warnings);
    log.info(
      { event: "policy.loaded", version: policy.version, policies: policy.policyCount, rules: policy.ruleCount },
      "policies in force",
    );
    audit.event({ kind: "policy", reason: "policy.loaded", policyVersion: policy.version });
  }
  function policyFailed(error: CountersignErrors): void {
    policyError = error;
    policyRejected(error);
  }
  function configFailed(error: CountersignErrors): void {
    configError = error;
    telemetry.reloadFailed("config");
    log.error(
      { event: "config.rejected", errors: loggedErrors(error) },
      "the new configuration is invalid; the old one stays",
    );
    audit.event({ kind: "lifecycle", reason: "config.rejected", detail: `${error.errors.length} errors` });
  }
  function policyRejected(error: CountersignErrors): void {
    telemetry.reloadFailed("policy");
    log.error({ event: "policy.rejected", errors: loggedErrors(error) }, "new policies are invalid; the old ones stay");
    audit.event({ kind: "policy", reason: "policy.rejected", detail: `${error.errors.length} errors` });
  }
  /** Of each source the newest set, or its last good one: of what is held back the set says why. */
  async function adoptNewest(): Promise<void> {
    try {
      const { compiled, isHeldBack, settle } = await newestThatFit(set.candidates, (files) =>
        policies.prepare(forUs({ files })),
      );
      const isNew = compiled.policy !== policies.state.policy;
      if (isNew || !isHeldBack) await putInForce(compiled);
      policyError = undefined;
      settle();
      sayHeldBack(!isNew);
      keepPolicies();
    } catch (error) {
      if (!parts.signal.aborted) policyFailed(asErrors(error));
    }
  }
  /** Once, however often what is in force changes beside it; `anew`: somebody asked for it. */
  function sayHeldBack(anew: boolean): void {
    const { refused } = set;
    if (refused !== undefined && (anew || refused.message !== heldBack)) policyRejected(refused);
    heldBack = refused?.message;
    // that what compiles was lost says nothing about policies: they may do although nothing changes
    callOffLost();
    if (refused?.errors.some(({ code }) => code === "E_POLICY_PROCESS") === true)
      callOffLost = clock.after(LOST_RETRY_MS, onPolicies);
  }
  async function adoptPolicies(change: PolicyChange): Promise<void> {
    try {
      await putInForce(await policies.prepare(forUs(change)));
    } catch (error) {
      if (!parts.signal.aborted) policyFailed(asErrors(error));
    }
  }
  function forUs(change: PolicyChange): PolicyChange {
    return wanted === undefined ? change : { localTrustDomain: wanted, ...change };
  }
  /** At once, if they are few: until the policies know our trust domain they allow nobody for its sake. Workers take one change after another,
   *  and what stands on files or a configuration that are just coming into force would undo them. */
  function adoptTrustDomain(localTrustDomain: TrustDomain): Promise<void> | undefined {
    if (sidecar?.hasWorkers === true || policies.isLarge || waiting > 0) {
      if (adopting === localTrustDomain) return turn;
      adopting = localTrustDomain;
      return takeTurn(async () => {
        await adoptPolicies({ localTrustDomain });
        if (adopting === localTrustDomain) adopting = undefined;
        if (wanted === localTrustDomain && policies.localTrustDomain !== localTrustDomain) retryLater();
      });
    }
    try {
      void putInForce(policies.prepareNow(localTrustDomain)); // nothing to wait for without workers
    } catch (error) {
      policyFailed(asErrors(error));
      retryLater();
    }
    return undefined;
  }
  /** Without policies for our trust domain nothing is served (see createFittingIdentity). */
  function retryLater(): void {
    callOffRetry();
    callOffRetry = clock.after(retryMs, () => {
      if (wanted !== undefined && wanted !== policies.localTrustDomain && !parts.signal.aborted)
        void adoptTrustDomain(wanted);
    });
    retryMs = Math.min(2 * retryMs, LAST_RETRY_MS);
  }
  function putInForce(prepared: PreparedPolicies): Promise<void> | undefined {
    const everywhere = sidecar?.setPolicy(prepared);
    if (everywhere !== undefined) return everywhere.then(() => inForce(prepared));
    inForce(prepared);
    return undefined;
  }
  function inForce(prepared: PreparedPolicies): void {
    prepared.commit();
    policyError = undefined;
    retryMs = FIRST_RETRY_MS;
    if (sidecar !== undefined) announce();
    parts.onPolicies();
  }
  function sayStates(): void {
    sources.report(set.states);
  }
  function keepPolicies(): void {
    void set.keep().then(sayStates);
  }
  function onSourceState(): void {
    sayStates();
    keepPolicies();
  }
  async function prepareConfig(
    next: SidecarConfig,
    opened: readonly OpenedPolicyUrl[],
  ): Promise<(() => Promise<void> | void) | undefined> {
    if (isDeepStrictEqual(next, config))
      return () => {
        configError = undefined;
        log.info({ event: "config.loaded" }, "configuration unchanged");
      };
    const nextSet = await set.follow(next, opened);
    if (nextSet === undefined) return undefined;
    const choice = await newestThatFit(nextSet.candidates, (files) => policies.prepare(forUs({ config: next, files })));
    return () => adoptConfig(next, nextSet, choice);
  }
  async function adoptConfig(
    next: SidecarConfig,
    nextSet: PolicySet,
    choice: PolicyChoice<PreparedPolicies>,
  ): Promise<void> {
    await bringIntoForce(next, choice.compiled);
    choice.compiled.commit();
    choice.settle();
    configError = undefined;
    policyError = undefined;
    log.level = next.logLevel;
    set = nextSet;
    watchPolicies();
    log.info({ event: "config.loaded" }, "configuration in force");
    announce();
    sayHeldBack(false);
    parts.onPolicies();
  }
  /** Everything that can fail comes before anything that cannot be taken back. */
  async function bringIntoForce(next: SidecarConfig, policy: Compiled): Promise<void> {
    const isSameIdentity = isDeepStrictEqual(identityOptionsOf(next), identityOptionsOf(config));
    const source = isSameIdentity ? undefined : parts.openIdentity(next);
    const pages = await parts
      .pages()
      ?.prepare(next)
      .catch((error: unknown) => {
        source?.close();
        throw error;
      });
    try {
      await sidecar?.setConfig(next, policy);
    } catch (error) {
      source?.close();
      await pages?.abandon();
      throw error;
    }
    config = next;
    pages?.commit();
    if (source === undefined) return;
    identity.replace(source);
    const waits = identity.pending === undefined ? "" : "; the old one serves until this one has an SVID";
    log.info({ event: "identity.source", source: source.description }, `identity comes from another source${waits}`);
  }
  function onPolicies(): void {
    void takeTurn(async () => {
      await adoptNewest();
      configs.tryAgain();
    });
  }
  function onConfigFile(change: FilesChange): void {
    if (change.kind === "failed") configFailed(change.error);
    else configs.apply(change.files[0]?.text ?? "");
  }
  function watchPolicies(): void {
    watching.abort();
    watching = new AbortController();
    const signal = stop === undefined ? watching.signal : AbortSignal.any([watching.signal, stop]);
    const onFailed = (): void => void takeTurn(() => sayHeldBack(true));
    policyWatch = set.watch({ onChange: onPolicies, onFailed, onState: onSourceState, signal });
    onSourceState();
  }
  const configs = createConfigReloads({
    read: (text) => {
      const { config: next } = parseSidecarConfig(text, file, env);
      const problems = restartProblems(config, next);
      if (problems.length > 0) throw new CountersignErrors(problems);
      return next;
    },
    open: (next, signal) => set.openNew(next, signal),
    takeTurn,
    prepare: prepareConfig,
    failed: (error) => configFailed(asErrors(error)),
    signal: parts.signal,
  });
  return {
    get config() {
      return config;
    },
    get error() {
      const all = [configError, policyError, set.refused].flatMap((found) => found?.errors ?? []);
      const errors = [...new Set(all)];
      return errors.length === 0 ? undefined : new CountersignErrors(errors);
    },
    get problems() {
      if (wanted === policies.localTrustDomain) return [];
      return [new CountersignError("E_STARTING", "the policies are not compiled for our trust domain yet")];
    },
    get policySources() {
      return set.states;
    },
    adoptIdentity(state) {
      if (state.kind !== "serving" && state.kind !== "stale") return undefined;
      const localTrustDomain = trustDomainOf(state.snapshot.svids[0].spiffeId);
      wanted = localTrustDomain;
      return policies.localTrustDomain === localTrustDomain ? undefined : adoptTrustDomain(localTrustDomain);
    },
    announce,
    start(running, signal) {
      sidecar = running;
      stop = signal;
      configWatch = watchConfigFile(file, {
        initial: [{ file, text: parts.text }],
        clock,
        signal,
        onChange: onConfigFile,
      });
      watchPolicies();
      sayHeldBack(false);
    },
    reloadNow() {
      log.info({ event: "reload" }, "SIGHUP");
      // the policies' watch may be a new one once the configuration is in, unless that waits for a server
      const late = new Promise<void>((resolve) => void clock.after(CONFIG_PATIENCE_MS, resolve));
      void configWatch
        ?.reloadNow()
        .then(() => Promise.race([configs.settled, late]))
        .then(() => turn)
        .then(() => policyWatch?.reloadNow());
    },
  };
}

function asErrors(error: unknown): CountersignErrors {
  if (error instanceof CountersignErrors) return error;
  if (error instanceof CountersignError) return new CountersignErrors([error]);
  throw error;
}
