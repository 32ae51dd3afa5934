import { isDeepStrictEqual } from "node:util";
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
import { type Listener, type ListenerOptions, openListener, type SharedSocket } from "./listener.ts";
import { type ListenerConfig, unixModeOf } from "./listener-configs.ts";
import { watchMemory } from "./memory-limit.ts";
import { recordRefusal } from "./refusals.ts";
import { type CallRecorder, currentSvid, type PolicyInForce, type ProxyLog, type Runtime } from "./runtime.ts";
import { endpointsOf, type Served, type ServeSurroundings, serveListener } from "./serve-listener.ts";
import { sourceAddressOf } from "./source-address.ts";
import { openSpare, tooManyConnections } from "./spare-connection.ts";
import { OpenInbounds } from "./tunnelled-connection.ts";
import { createCheckedLookup } from "./upstream/checked-lookup.ts";
import { addressText } from "./upstream/dial.ts";
import { createNameTtl, type NameTtl } from "./upstream/name-ttl.ts";
import { createSystemResolve, type ResolveName } from "./upstream/system-resolve.ts";
import type { UpstreamStatus } from "./upstream/upstream-status.ts";

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
  /** In a worker: the socket of a listener, made by the main thread. Absent: listeners open their own. */
  readonly sharedSocket?: (direction: "inbound" | "outbound", name: string) => SharedSocket;
}

/** A listener as status shows it. */
export interface ListenerStatus {
  readonly name: string;
  readonly direction: "inbound" | "outbound";
  readonly address: string;
  /** The app (inbound) or the first endpoint (outbound). */
  readonly target: string;
  readonly protocol: string;
  readonly connections: number;
  readonly upstreamConnections: number;
  readonly upstream: UpstreamStatus;
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

/** A listener with what hangs on it. */
interface Entry {
  readonly direction: "inbound" | "outbound";
  readonly config: ListenerConfig;
  readonly listener: Listener;
  readonly served: Served;
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
  let entries: Entry[] = [];
  /** Listeners that a reload removed and that still have connections. */
  const retired = new Set<Entry>();
  const everyEntry = (): Entry[] => [...entries, ...retired];
  const ownAddresses = (): readonly Address[] => [
    ...[...config.inbound, ...config.outboundAsWritten].map(({ listen }) => listen),
    ...everyEntry().map(({ listener }) => listener.address),
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
  const inbounds = new OpenInbounds(runtime);
  const resolve = parts.resolve ?? createSystemResolve(runtime.deadlines, () => runtime.timeouts.connect);
  const ttlOf = parts.ttlOf ?? createNameTtl(config.timeouts.connect);
  const surroundings: Surroundings = {
    lookup: createCheckedLookup(resolve, undefined, ttlOf),
    own: { addresses: machineAddresses, listeners: () => placesOf([...ownAddresses(), ...pagesOf(config)]) },
    resolve,
    ttlOf,
    sharedSocket: parts.sharedSocket,
  };
  const memory = watchMemory({
    limit: () => runtime.limits.memory,
    onChange(isOver, bytes) {
      const what = `${bytes} bytes are resident, limits.memory is ${runtime.limits.memory}`;
      runtime.overload = isOver ? new CountersignError("E_OVERLOADED", what) : undefined;
      if (isOver) log.warn({ event: "overload", bytes }, "new calls are turned away: too much memory is in use");
      else log.info({ event: "overload.over", bytes }, "new calls are taken again");
    },
  });

  try {
    entries = await openAll(runtime, inbounds, surroundings, config, []);
  } catch (error) {
    memory.close();
    guards.close();
    jwtSvids.close();
    throw error;
  }

  const unsubscribe = identity.subscribe((state) => {
    runtime.identity = state;
    onIdentity(state);
  });

  function onIdentity(state: IdentityState): void {
    for (const entry of everyEntry()) {
      if (state.kind === "waiting") continue; // nothing was opened with an identity yet
      const ours = currentSvid(runtime, entry.config.svidHint);
      if ((state.kind === "serving" || state.kind === "stale") && !(ours instanceof CountersignError)) {
        entry.served.pool.onIdentity(state.snapshot, ours.svid.fingerprint);
        for (const connection of entry.listener.connections.list()) connection.onIdentity(state.snapshot);
      } else if (ours instanceof CountersignError) {
        // fail closed: what was opened with an identity that we no longer have ends with it
        entry.served.pool.end(ours);
        for (const connection of entry.listener.connections.list()) connection.onIdentityLost(ours);
      }
    }
  }

  const tick = setInterval(() => {
    const nowMs = Date.now();
    for (const entry of everyEntry()) {
      entry.served.pool.expire(nowMs);
      for (const connection of entry.listener.connections.list()) {
        connection.onTick(nowMs);
        if (runtime.inForce.policy.dependsOnTime) connection.onPolicy();
      }
    }
    for (const entry of retired) if (entry.listener.connections.size === 0) retired.delete(entry);
  }, TICK_MS);
  tick.unref();

  function applyPolicy(policy: CompiledPolicy): void {
    runtime.inForce = inForce(policy);
    for (const entry of everyEntry()) {
      for (const connection of entry.listener.connections.list()) connection.onPolicy();
    }
  }

  function retire(entry: Entry): void {
    entry.listener.stopAccepting();
    for (const connection of entry.listener.connections.list()) connection.drain();
    entry.served.pool.close();
    retired.add(entry);
  }

  return {
    get listeners() {
      return entries.map(describe);
    },
    get activeCalls() {
      return everyEntry().reduce((sum, entry) => sum + callsOf(entry), 0);
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
      const kept = entries.filter((entry) =>
        wanted(next, entry.direction).some((one) => isDeepStrictEqual(one, entry.config)),
      );
      // an address can change hands between listeners: those that lose it let go of it first
      const gone = entries.filter((entry) => !kept.includes(entry));
      const freed = gone.filter((entry) => namesAddress(next, entry.listener.address));
      for (const entry of freed) entry.listener.stopAccepting();
      let opened: Entry[];
      try {
        opened = await openAll(runtime, inbounds, surroundings, next, kept);
      } catch (error) {
        const again = await openAll(
          runtime,
          inbounds,
          surroundings,
          config,
          entries.filter((entry) => !freed.includes(entry)),
        );
        for (const entry of freed) retire(entry);
        entries = [
          ...entries.filter((entry) => !freed.includes(entry)),
          ...again.filter((entry) => !entries.includes(entry)),
        ];
        throw error;
      }
      config = next;
      jwtSvids.setWanted(wantedJwtSvids(next));
      runtime.limits = next.limits;
      runtime.timeouts = next.timeouts;
      entries = opened;
      for (const entry of kept) entry.served.retune(next);
      for (const entry of gone) retire(entry);
      applyPolicy(policy);
    },
    async drain(timeoutMs) {
      runtime.draining = true;
      const deadline = performance.now() + timeoutMs;
      for (const entry of everyEntry()) entry.listener.stopAccepting();
      const busy = (): boolean => everyEntry().some((entry) => entry.listener.connections.size > 0);
      await until(() => !busy(), Math.min(deadline, performance.now() + IDLE_GRACE_MS));
      for (const entry of everyEntry()) for (const connection of entry.listener.connections.list()) connection.drain();
      await until(() => !busy(), deadline);
      let cut = 0;
      for (const entry of everyEntry()) {
        cut += callsOf(entry);
        for (const connection of entry.listener.connections.list()) {
          connection.cut("E_DRAIN_CUT", `still open after the drain timeout of ${timeoutMs} ms`);
        }
        entry.served.pool.close();
      }
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

function callsOf(entry: Entry): number {
  return entry.listener.connections.list().reduce((sum, connection) => sum + connection.calls, 0);
}

function wanted(config: SidecarConfig, direction: "inbound" | "outbound"): readonly ListenerConfig[] {
  return direction === "inbound" ? config.inbound : config.outboundAsWritten;
}

/** Where the pages of operations are. */
function pagesOf(config: SidecarConfig): readonly Address[] {
  return [config.admin, config.health, config.metrics].filter((address) => address !== undefined);
}

function placesOf(addresses: readonly Address[]): ReturnType<EgressSurroundings["own"]["listeners"]> {
  return addresses.flatMap((address) => (address.kind === "tcp" ? [listeningPlace(address.host, address.port)] : []));
}

function namesAddress(config: SidecarConfig, address: Address): boolean {
  const text = addressText(address);
  return [...config.inbound, ...config.outboundAsWritten].some((one) => addressText(one.listen) === text);
}

/** Opens what `kept` doesn't cover already. On failure everything that it opened is closed again. */
async function openAll(
  runtime: Runtime,
  inbounds: OpenInbounds,
  surroundings: Surroundings,
  config: SidecarConfig,
  kept: readonly Entry[],
): Promise<Entry[]> {
  const opened: Entry[] = [];
  const all: Entry[] = [];
  try {
    for (const direction of ["inbound", "outbound"] as const) {
      for (const one of wanted(config, direction)) {
        let entry = kept.find((other) => other.direction === direction && isDeepStrictEqual(other.config, one));
        if (entry === undefined) {
          entry = await openEntry(runtime, inbounds, surroundings, config, direction, one);
          opened.push(entry);
        }
        all.push(entry);
      }
    }
  } catch (error) {
    for (const entry of opened) {
      entry.listener.stopAccepting();
      entry.served.pool.close();
    }
    throw error;
  }
  return all;
}

/** What new listeners need of the process besides its runtime. */
interface Surroundings extends ServeSurroundings {
  readonly sharedSocket: SidecarParts["sharedSocket"];
}

async function openEntry(
  runtime: Runtime,
  inbounds: OpenInbounds,
  surroundings: Surroundings,
  config: SidecarConfig,
  direction: "inbound" | "outbound",
  one: ListenerConfig,
): Promise<Entry> {
  const served = serveListener(runtime, inbounds, surroundings, config, direction, one);
  const { accept, pool, target, inbound } = served;
  const spare: ListenerOptions["accept"] | undefined =
    "protocol" in one && one.protocol === "tcp"
      ? undefined
      : (socket, onClosed) => openSpare(runtime, accept, socket, onClosed);
  const opening = openListener({
    name: one.name,
    direction,
    listen: one.listen,
    unixMode: unixModeOf(one),
    shared: surroundings.sharedSocket?.(direction, one.name),
    maxConnections: () => runtime.limits.connections,
    accept: (socket, onClosed) => accept(runtime, socket, onClosed),
    spare,
    onFull: (socket) => {
      recordRefusal(
        runtime,
        {
          direction,
          listener: one.name,
          source: undefined,
          sourceAddress: sourceAddressOf(socket),
          sourceUid: undefined,
          sourcePid: undefined,
          destination: undefined,
          destinationAddress: target,
          appPort: undefined,
          tlsVersion: undefined,
          tlsCipher: undefined,
        },
        tooManyConnections(runtime),
        performance.now(),
      );
    },
    onError: (error) => runtime.log.warn({ event: "listener.error", name: one.name, err: error.message }),
    onOpened: () => runtime.recorder.connectionOpened(direction, one.name),
    onClosed: () => runtime.recorder.connectionClosed(direction, one.name),
  });
  const listener = await opening.catch((error: unknown) => {
    pool.close();
    throw error;
  });
  if (inbound !== undefined) inbounds.set({ parts: inbound, listener });
  runtime.log.info({ event: "listening", name: one.name, direction, address: addressText(listener.address) });
  return { direction, config: one, listener, served };
}

function describe(entry: Entry): ListenerStatus {
  const { config, listener, served } = entry;
  return {
    name: listener.name,
    direction: entry.direction,
    address: addressText(listener.address),
    target:
      "forward" in config ? "what the app names" : addressText("app" in config ? config.app : endpointsOf(config)[0]),
    protocol: "forward" in config ? "egress proxy" : config.protocol,
    connections: listener.connections.size,
    upstreamConnections: served.pool.size,
    upstream: served.pool.status,
  };
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
