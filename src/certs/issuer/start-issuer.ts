import type { Clock } from "../../core/clock.ts";
import { CountersignError } from "../../core/errors.ts";
import type { PeerCredentialsReader } from "../../sys/local-peer.ts";
import { createTokenBuckets } from "../../sys/token-buckets.ts";
import { openAuthorities } from "./authorities.ts";
import type { IssuerConfig } from "./issuer-config.ts";
import type { IssuerLog } from "./issuer-log.ts";
import { openStateStore } from "./state-store.ts";
import { type ConnectionLimits, serveWorkloadApi } from "./workload-api-server.ts";
import { createX509Svids } from "./x509-svids.ts";

/** What nobody may use up: per machine, and per uid. */
export interface IssuerLimits extends ConnectionLimits {
  readonly callsPerUidBurst: number;
  readonly callsPerUidPerSecond: number;
}

export const defaultIssuerLimits: IssuerLimits = {
  connections: 1024,
  connectionsPerUid: 128,
  streamsPerConnection: 32,
  callsPerUidBurst: 200,
  callsPerUidPerSecond: 50,
};

export interface IssuerDeps {
  readonly clock: Clock;
  readonly log: IssuerLog;
  readonly peers: PeerCredentialsReader;
  readonly limits?: IssuerLimits;
}

export interface RunningIssuer {
  /** What clients take as SPIFFE_ENDPOINT_SOCKET. */
  readonly address: string;
  /** Takes over entries and lifetimes; open streams get what changed for them. Throws CountersignError E_ISSUER_RELOAD,
   *  and then changes nothing, when the new configuration needs a restart. */
  reload(config: IssuerConfig): void;
  /** Ends all calls with Unavailable, closes and removes the socket, releases the state folder. */
  close(): Promise<void>;
}

const MAX_UIDS = 4096;

/** Starts the embedded issuer: a SPIFFE Workload API server with its own CA, for one machine. Resolves when it serves.
 *  Logs `listening`, `ready`, `issued`, `refused`, `ca.rotated`, `entries.loaded`, `stopped`.
 *  Throws CountersignError E_ISSUER_STATE, E_ISSUER_STATE_LOCKED, E_ISSUER_SOCKET, E_SYS_UNAVAILABLE. */
export async function startIssuer(initial: IssuerConfig, deps: IssuerDeps): Promise<RunningIssuer> {
  const { clock, log, peers, limits = defaultIssuerLimits } = deps;
  const address = `unix://${initial.socketPath}`;
  let config = initial;
  const listeners = new Set<() => void>();
  const notify = (): void => {
    for (const listener of listeners) listener();
  };
  await using startup = new AsyncDisposableStack();
  const store = openStateStore(config.stateFolder, config.trustDomain);
  startup.defer(() => store.close());
  const authorities = await openAuthorities({
    trustDomain: config.trustDomain,
    store,
    clock,
    log,
    ttlMs: () => config.caTtlMs,
  });
  startup.defer(() => authorities.close());
  startup.defer(authorities.subscribe(notify));
  const svids = createX509Svids(authorities, clock, () => config);
  const server = await serveWorkloadApi(
    config.socketPath,
    {
      clock,
      log,
      authorities,
      svids,
      entries: () => config.entries,
      jwtTtlMs: () => config.jwtTtlMs,
      subscribe(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      callBudget: createTokenBuckets({
        burst: limits.callsPerUidBurst,
        perSecond: limits.callsPerUidPerSecond,
        maxKeys: MAX_UIDS,
        clock,
      }),
      refusalLogBudget: createTokenBuckets({ burst: 20, perSecond: 1, maxKeys: MAX_UIDS, clock }),
    },
    peers,
    limits,
  );
  startup.defer(() => server.close());
  const running = startup.move();

  log.info({ event: "listening", name: "workload-api", address });
  if (!peers.seesOtherUsers) {
    const uid = process.geteuid?.();
    log.warn({ event: "limited", reason: `without CAP_SYS_PTRACE only callers of uid ${uid} are served` });
  }
  const { trustDomain, development } = config;
  log.info({ event: "ready", trustDomain, entries: config.entries.length, development });

  return {
    address,
    reload(next) {
      const fixed = ["trustDomain", "socketPath", "stateFolder"] as const;
      const changed = fixed.filter((key) => next[key] !== config[key]);
      if (changed.length > 0)
        throw new CountersignError("E_ISSUER_RELOAD", `a reload cannot change ${changed.join(", ")}`);
      config = next;
      svids.retain(new Set(next.entries.map(({ id }) => id)));
      log.info({ event: "entries.loaded", entries: next.entries.length });
      notify();
    },
    async close() {
      await running.disposeAsync();
      log.info({ event: "stopped" });
    },
  };
}
