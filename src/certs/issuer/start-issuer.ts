import type { Clock } from "../../core/clock.ts";
import { asCountersignError, CountersignError } from "../../core/errors.ts";
import type { PeerCredentialsReader } from "../../sys/local-peer.ts";
import { createTokenBuckets } from "../../sys/token-buckets.ts";
import { makeTrustBundle } from "../trust-bundle.ts";
import { readAddedEntries, writeAddedEntries } from "./added-entries.ts";
import { serveAdmin } from "./admin-server.ts";
import { type AuthorityTerms, openAuthorities } from "./authorities.ts";
import { entryRules } from "./check-issuer-config.ts";
import { createEntryBook, type EntryBook } from "./entry-book.ts";
import { openFederatedBundles } from "./federated-bundles.ts";
import type { IssuerAudit } from "./issuer-audit.ts";
import type { IssuerConfig } from "./issuer-config.ts";
import type { IssuerLog } from "./issuer-log.ts";
import { servePublicPages } from "./serve-public-pages.ts";
import { openStateStore } from "./state-store.ts";
import { x509Anchors } from "./trust-bundle.ts";
import { readUpstreamAuthority } from "./upstream-authority.ts";
import { type ConnectionLimits, serveWorkloadApi } from "./workload-api-server.ts";
import { createX509Svids, type X509Svids } from "./x509-svids.ts";

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
  readonly audit: IssuerAudit;
  readonly peers: PeerCredentialsReader;
  readonly limits?: IssuerLimits;
}

export interface RunningIssuer {
  /** What clients take as SPIFFE_ENDPOINT_SOCKET. */
  readonly address: string;
  /** Takes over entries, lifetimes, key types, partners, the CA above and renewed certificate files; open streams get what changed
   *  for them. Throws CountersignError E_ISSUER_RELOAD when the new configuration needs a restart, or E_ISSUER_UPSTREAM, and
   *  then changes nothing. */
  reload(config: IssuerConfig): void;
  /** Ends all calls with Unavailable, closes and removes the sockets, releases the state folder. */
  close(): Promise<void>;
}

const MAX_UIDS = 4096;

/** Starts the embedded issuer: a SPIFFE Workload API server with its own CA, for one machine. Resolves when it serves.
 *  Logs `listening`, `ready`, `issued`, `refused`, `ca.rotated`, `entries.loaded`, `stopped`.
 *  Throws CountersignError E_ISSUER_STATE, E_ISSUER_STATE_LOCKED, E_ISSUER_SOCKET, E_ISSUER_UPSTREAM, E_LISTEN,
 *  E_SYS_UNAVAILABLE. */
export async function startIssuer(initial: IssuerConfig, deps: IssuerDeps): Promise<RunningIssuer> {
  const { clock, log, audit, peers, limits = defaultIssuerLimits } = deps;
  const address = `unix://${initial.socketPath}`;
  const { trustDomain, stateFolder } = initial;
  let config = initial;
  const listeners = new Set<() => void>();
  const notify = (): void => {
    for (const listener of listeners) listener();
  };
  await using startup = new AsyncDisposableStack();
  const store = openStateStore(stateFolder, trustDomain);
  startup.defer(() => store.close());
  const authorities = await openAuthorities({ trustDomain, store, clock, log, terms: () => authorityTerms(config) });
  startup.defer(() => authorities.close());
  startup.defer(authorities.subscribe(notify));
  const federated = openFederatedBundles({
    trustDomain,
    stateFolder,
    partners: config.federatesWith,
    ownBundle: () =>
      makeTrustBundle(
        trustDomain,
        x509Anchors(authorities.current).map(({ raw }) => raw),
      ),
    clock,
    log,
  });
  startup.defer(() => federated.close());
  startup.defer(federated.subscribe(notify));
  const svids = createX509Svids(authorities, clock, () => config);
  const entriesChanged = (): void => {
    retainSvids(svids, book, config);
    notify();
  };
  const book = createEntryBook({
    file: config.entries,
    rules: entryRules(config),
    added: readAddedEntries(stateFolder),
    save(added) {
      writeAddedEntries(stateFolder, added);
      queueMicrotask(entriesChanged); // the book changes once this has returned
    },
  });
  logSuspended(book, log);
  const server = await serveWorkloadApi(
    config.socketPath,
    {
      clock,
      log,
      audit,
      authorities,
      svids,
      entries: () => book.entries,
      federated: () => federated.bundles,
      jwt: () => ({ ttlMs: config.jwtTtlMs, issuer: config.http?.issuer }),
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
  log.info({ event: "listening", name: "workload-api", address });
  if (config.adminPath !== undefined) {
    const ownUid = process.geteuid?.() ?? 0;
    const nowMs = (): number => clock.nowMs();
    const admin = await serveAdmin({
      path: config.adminPath,
      book,
      bundles: federated,
      nowMs,
      peers,
      audit,
      log,
      ownUid,
    });
    startup.defer(() => admin.close());
    log.info({ event: "listening", name: "admin", address: `unix://${config.adminPath}` });
  }
  const publicPages = await servePublicPages(() => config.http, { authorities, svids, clock, log, audit });
  startup.defer(() => publicPages.close());
  const running = startup.move();

  if (!peers.seesOtherUsers) {
    const uid = process.geteuid?.();
    log.warn({ event: "limited", reason: `without CAP_SYS_PTRACE only callers of uid ${uid} are served` });
  }
  log.info({ event: "ready", trustDomain, entries: book.entries.length, development: config.development });

  return {
    address,
    reload(next) {
      const changed = fixedKeys.filter((key) => JSON.stringify(next[key]) !== JSON.stringify(config[key]));
      if (JSON.stringify(addressesOf(next)) !== JSON.stringify(addressesOf(config))) changed.push("http");
      if (changed.length > 0)
        throw new CountersignError("E_ISSUER_RELOAD", `a reload cannot change ${changed.join(", ")}`);
      authorityTerms(next).upstream(); // throws for a CA above that cannot be used
      config = next;
      book.setFile(next.entries, entryRules(next));
      logSuspended(book, log);
      federated.setPartners(next.federatesWith);
      publicPages.refresh();
      retainSvids(svids, book, next);
      log.info({ event: "entries.loaded", entries: book.entries.length });
      notify();
      authorities.refresh().catch((error: unknown) => {
        const { code, message } = asCountersignError(error, "E_ISSUER_STATE", String(error));
        log.error({ event: "ca.rotation_failed", code, error: message });
      });
    },
    async close() {
      await running.disposeAsync();
      log.info({ event: "stopped" });
    },
  };
}

const fixedKeys: (keyof IssuerConfig)[] = ["trustDomain", "socketPath", "stateFolder", "adminPath", "audit"];

/** Of `http`, what a restart must change; issuer and certificate files may change at any time. */
function addressesOf({ http }: IssuerConfig): object {
  return [http?.listen, http?.tls === undefined, http?.bundleEndpoint];
}

function authorityTerms({ caTtlMs, jwtKeyType, upstreamAuthority: files }: IssuerConfig): AuthorityTerms {
  return { ttlMs: caTtlMs, jwtKeyType, upstream: () => files && readUpstreamAuthority(files) };
}

function retainSvids(svids: X509Svids, book: EntryBook, { http }: IssuerConfig): void {
  const ids = new Set(book.entries.map(({ id }) => id));
  if (http?.bundleEndpoint !== undefined) ids.add(http.bundleEndpoint.id);
  svids.retain(ids);
}

function logSuspended(book: EntryBook, log: IssuerLog): void {
  for (const { entryId, entry, suspended } of book.listed)
    if (suspended !== undefined) log.warn({ event: "entry.suspended", entryId, id: entry.id, reason: suspended });
}
