import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import type { JwksState } from "../certs/jwt/jwks-source.ts";
import { createJwtSvidKeeper, type WantedJwtSvid } from "../certs/jwt-svid/jwt-svid-keeper.ts";
import { createJwtSvidVerifier } from "../certs/jwt-svid/jwt-svid-verifier.ts";
import { createPeerVerifier } from "../certs/peer-verifier.ts";
import type { Address, SidecarConfig } from "../config/sidecar-config.ts";
import type { AuditLog } from "../core/audit-log.ts";
import { cidrSet } from "../core/cidr-set.ts";
import { CountersignError } from "../core/errors.ts";
import type { IdentitySource, IdentityState } from "../core/identity.ts";
import { parseCidr } from "../core/ip-address.ts";
import { systemClock } from "../sys/system-clock.ts";
import { createCallGuards, type ProviderChecks } from "./call-guards.ts";
import { Deadlines } from "./deadlines.ts";
import { listeningPlace } from "./forward/destination-addresses.ts";
import { machineAddresses } from "./forward/machine-addresses.ts";
import type { EgressSurroundings } from "./forward/open-forward.ts";
import { wantedListeners } from "./listener-configs.ts";
import { ListenerSet } from "./listener-set.ts";
import { type ListenerStatus, listenerStatus } from "./listener-status.ts";
import { watchMemory } from "./memory-limit.ts";
import { listenersOf, type OpenSurroundings } from "./open-listeners.ts";
import { type CallRecorder, currentSvid, type PolicyInForce, type ProxyLog, type Runtime } from "./runtime.ts";
import { createCheckedLookup } from "./upstream/checked-lookup.ts";
import { createNameTtl, type NameTtl } from "./upstream/name-ttl.ts";
import { createSystemResolve, type ResolveName } from "./upstream/system-resolve.ts";

export interface SidecarParts {
  readonly config: SidecarConfig;
  readonly policy: CompiledPolicy;
  readonly identity: IdentitySource;
  readonly audit: AuditLog;
  readonly recorder: CallRecorder;
  readonly log: ProxyLog;
  /** How names' addresses are found, and for how long they hold; absent: the machine's resolver is asked, and DNS. */
  readonly resolve?: ResolveName;
  readonly ttlOf?: NameTtl;
  readonly sharedSocket?: OpenSurroundings["sharedSocket"];
}

export interface Sidecar {
  readonly listeners: readonly ListenerStatus[];
  readonly activeCalls: number;
  /** New calls are turned away for want of memory. */
  readonly overloaded: boolean;
  /** Where issuers' keys come from. */
  readonly keySources: readonly JwksState[];
  /** Who is asked about calls, and how that went. */
  readonly providers: readonly ProviderChecks[];
  /** Puts a newly compiled policy in force, for open connections too. */
  setPolicy(policy: CompiledPolicy): void;
  /** Puts a new configuration in force: all of it, or, when a new listener can't be opened, none (rejects with E_LISTEN). */
  setConfig(config: SidecarConfig, policy: CompiledPolicy): Promise<void>;
  /** Stops accepting and lets calls end until `timeoutMs`; what is left is cut and recorded. Resolves with the number of cut calls. */
  drain(timeoutMs: number): Promise<number>;
}

const TICK_MS = 500;
/** During a drain an idle connection is kept this long, for the request that its client may be writing just now: the answer says that
 *  the connection ends. */
const IDLE_GRACE_MS = 250;
const DRAIN_POLL_MS = 20;

/** Opens all listeners of a configuration and serves. Rejects with CountersignError E_LISTEN when one can't be opened: then none is. */
export async function startSidecar(parts: SidecarParts): Promise<Sidecar> {
  const { log, identity } = parts;
  let { config } = parts;
  const guards = createCallGuards(systemClock, log);
  const listeners = new ListenerSet();
  const ownAddresses = (): readonly Address[] => [
    ...wantedListeners(config).map((one) => one.config.listen),
    ...listeners.all.map(({ listener }) => listener.address),
  ];
  const inForce = (policy: CompiledPolicy): PolicyInForce => ({
    policy,
    trustedProxies: trustedProxies(config),
    ...guards.adopt(config, policy, ownAddresses),
  });
  const jwtSvids = createJwtSvidKeeper({
    identity,
    clock: systemClock,
    onProblem: (audience, { code, message }) => log.warn({ event: "identity.jwt_svid", audience, code }, message),
  });
  jwtSvids.setWanted(wantedJwtSvids(config));
  const runtime: Runtime = {
    deadlines: new Deadlines(),
    audit: parts.audit,
    recorder: parts.recorder,
    log,
    verifyPeer: createPeerVerifier(),
    verifyJwtSvid: createJwtSvidVerifier(),
    jwtSvids,
    inForce: inForce(parts.policy),
    identity: identity.state,
    limits: config.limits,
    timeouts: config.timeouts,
    draining: false,
    overload: undefined,
  };
  const resolve = parts.resolve ?? createSystemResolve(runtime.deadlines, () => runtime.timeouts.connect);
  const ttlOf = parts.ttlOf ?? createNameTtl(config.timeouts.connect);
  const open = listenersOf(runtime, {
    lookup: createCheckedLookup(resolve, undefined, ttlOf),
    own: { addresses: machineAddresses, listeners: () => placesOf([...ownAddresses(), ...pagesOf(config)]) },
    resolve,
    ttlOf,
    sharedSocket: parts.sharedSocket,
  });
  const memory = watchMemory({
    limit: () => runtime.limits.memory,
    onChange(isOver, bytes) {
      const what = `${bytes} bytes are resident, limits.memory is ${runtime.limits.memory}`;
      runtime.overload = isOver ? new CountersignError("E_OVERLOADED", what) : undefined;
      if (isOver) log.warn({ event: "overload", bytes }, "new calls are turned away: too much memory is in use");
      else log.info({ event: "overload.over", bytes }, "new calls are taken again");
    },
  });

  // before anything is waited for: a state that comes meanwhile is not missed
  const unsubscribe = identity.subscribe((state) => {
    runtime.identity = state;
    onIdentity(state);
  });
  try {
    const putInForce = await listeners.prepare(open, config, config);
    putInForce();
  } catch (error) {
    unsubscribe();
    memory.close();
    guards.close();
    jwtSvids.close();
    throw error;
  }

  function onIdentity(state: IdentityState): void {
    if (state.kind === "waiting") return; // nothing was opened with an identity yet
    for (const { config: one, listener, served } of listeners.all) {
      const ours = currentSvid(runtime, one.svidHint);
      if ((state.kind === "serving" || state.kind === "stale") && !(ours instanceof CountersignError)) {
        served.pool.onIdentity(state.snapshot, ours.svid.fingerprint);
        for (const connection of listener.connections.list()) connection.onIdentity(state.snapshot);
      } else if (ours instanceof CountersignError) {
        // fail closed: what was opened with an identity that we no longer have ends with it
        served.pool.end(ours);
        for (const connection of listener.connections.list()) connection.onIdentityLost(ours);
      }
    }
  }

  const tick = setInterval(() => {
    const nowMs = Date.now();
    for (const { served } of listeners.all) served.pool.expire(nowMs);
    for (const connection of listeners.connections) {
      connection.onTick(nowMs);
      if (runtime.inForce.policy.dependsOnTime) connection.onPolicy();
    }
    listeners.forgetEnded();
  }, TICK_MS);
  tick.unref();

  function applyPolicy(policy: CompiledPolicy): void {
    runtime.inForce = inForce(policy);
    for (const connection of listeners.connections) connection.onPolicy();
  }

  return {
    get listeners() {
      return listeners.inForce.map(listenerStatus);
    },
    get activeCalls() {
      return listeners.calls;
    },
    get overloaded() {
      return runtime.overload !== undefined;
    },
    get keySources() {
      return guards.keySources;
    },
    get providers() {
      return guards.providers;
    },
    setPolicy: applyPolicy,
    async setConfig(next, policy) {
      const putInForce = await listeners.prepare(open, config, next);
      config = next;
      jwtSvids.setWanted(wantedJwtSvids(next));
      runtime.limits = next.limits;
      runtime.timeouts = next.timeouts;
      putInForce();
      applyPolicy(policy);
    },
    async drain(timeoutMs) {
      runtime.draining = true;
      const deadline = performance.now() + timeoutMs;
      listeners.stopAccepting();
      await until(() => !listeners.isBusy, Math.min(deadline, performance.now() + IDLE_GRACE_MS));
      for (const connection of listeners.connections) connection.drain();
      await until(() => !listeners.isBusy, deadline);
      const cut = listeners.calls;
      for (const connection of listeners.connections) {
        connection.cut("E_DRAIN_CUT", `still open after the drain timeout of ${timeoutMs} ms`);
      }
      listeners.closeUpstreams();
      clearInterval(tick);
      memory.close();
      guards.close();
      jwtSvids.close();
      unsubscribe();
      return cut;
    },
  };
}

function trustedProxies(config: SidecarConfig): Runtime["inForce"]["trustedProxies"] {
  return cidrSet(config.trustedProxies.flatMap((text) => parseCidr(text) ?? []));
}

function wantedJwtSvids({ outbound }: SidecarConfig): WantedJwtSvid[] {
  return outbound.flatMap(({ jwtSvid, svidHint }) =>
    jwtSvid === undefined ? [] : [{ audience: jwtSvid.audience, hint: svidHint }],
  );
}

/** Where the pages of operations are. */
function pagesOf(config: SidecarConfig): readonly Address[] {
  return [config.admin, config.health, config.metrics].filter((address) => address !== undefined);
}

function placesOf(addresses: readonly Address[]): ReturnType<EgressSurroundings["own"]["listeners"]> {
  return addresses.flatMap((address) => (address.kind === "tcp" ? [listeningPlace(address.host, address.port)] : []));
}

function until(condition: () => boolean, deadline: number): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (condition() || performance.now() >= deadline) resolve();
      else setTimeout(look, DRAIN_POLL_MS);
    };
    look();
  });
}
