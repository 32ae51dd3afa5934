import type { Clock } from "../../core/clock.ts";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import { activeTerm, liveTerms, nextChangeMs, preparationMs, switchMs, type Term } from "./authority-terms.ts";
import type { IssuerLog } from "./issuer-log.ts";
import { createJwtAuthority, type JwtAuthority, type JwtKeyType, jwtKeyTypeOf } from "./jwt-authority.ts";
import type { StateStore } from "./state-store.ts";
import type { AuthoritySet } from "./trust-bundle.ts";
import { createProvenIntermediate, isUnder } from "./upstream-authority.ts";
import { wakeAt } from "./wake-at.ts";
import { createX509Authority, type UpstreamAuthority, type X509Authority } from "./x509-authority.ts";

const RETRY_MS = 10_000;

export interface AuthoritiesOptions {
  readonly trustDomain: TrustDomain;
  readonly store: StateStore;
  readonly clock: Clock;
  readonly log: IssuerLog;
  /** How an authority is made from now on. Asked each time: a reload may change it. */
  readonly terms: () => AuthorityTerms;
}

export interface AuthorityTerms {
  readonly ttlMs: number;
  readonly jwtKeyType: JwtKeyType;
  /** Reads the CA above; undefined: our CA is trusted itself. Throws CountersignError. */
  readonly upstream: () => UpstreamAuthority | undefined;
}

/** The trust domain's authorities over time. A new one is on disk and in the bundle long before it signs
 *  (authority-terms.ts), and an old one stays in the bundle until it expires. */
export interface Authorities {
  /** What is trusted now. Swapped whole. */
  readonly current: AuthoritySet;
  /** The CA that signs now. Makes one first when the machine slept through the time to prepare it. */
  signingX509(): Promise<X509Authority>;
  signingJwt(): Promise<JwtAuthority>;
  /** Follows what `terms` says now: an authority of another kind is made and published at once, and signs an hour later. Rejects when
   *  it cannot be made; the present ones stay. */
  refresh(): Promise<void>;
  /** Called after each change of `current`. Returns the unsubscribe function. */
  subscribe(listener: () => void): () => void;
  close(): void;
}

/** Reads the authorities from the store, or makes the first ones. Throws CountersignError E_ISSUER_STATE and what
 *  writing a file throws. */
export async function openAuthorities({
  trustDomain,
  store,
  clock,
  log,
  terms,
}: AuthoritiesOptions): Promise<Authorities> {
  const listeners = new Set<() => void>();
  let current: AuthoritySet = store.read() ?? { trustDomain, sequence: 0, x509: [], jwt: [] };
  let closed = false;
  let lastLogged = "";
  let cancelWake = (): void => undefined;
  let maintaining: Promise<void> | undefined;

  /** The set as it must be now: expired ones dropped, the next ones made when their time has come. Returns the
   *  moment that it looked at. */
  async function bringUpToDate(): Promise<number> {
    const nowMs = clock.nowMs();
    const { ttlMs, jwtKeyType, upstream } = terms();
    const problems: unknown[] = [];
    // A CA above that cannot be used is no reason to let the JWT keys run out, nor the other way round.
    const orKept =
      <T extends Term>(kept: readonly T[]) =>
      (problem: unknown): readonly T[] => {
        problems.push(problem);
        return liveTerms(kept, nowMs);
      };
    const x509 = await nextX509(current.x509, nowMs, ttlMs, upstream).catch(orKept(current.x509));
    const jwt = await successors(
      current.jwt,
      nowMs,
      ({ key }) => jwtKeyTypeOf(key) === jwtKeyType,
      () => createJwtAuthority(jwtKeyType, ttlMs, nowMs),
    ).catch(orKept(current.jwt));
    if (!sameMembers(x509, current.x509) || !sameMembers(jwt, current.jwt)) {
      const next = { trustDomain, sequence: current.sequence + 1, x509, jwt };
      // On disk first: an authority that a crash forgets must not have been trusted by anyone.
      store.write(next);
      current = next;
      for (const listener of listeners) listener();
    }
    logRotation(nowMs);
    if (problems.length > 0) throw problems[0];
    return nowMs;
  }

  async function nextX509(
    present: readonly X509Authority[],
    nowMs: number,
    ttlMs: number,
    upstreamOf: AuthorityTerms["upstream"],
  ): Promise<readonly X509Authority[]> {
    const upstream = upstreamOf();
    return successors(
      present,
      nowMs,
      (authority) => isUnder(authority, upstream),
      () =>
        upstream === undefined
          ? createX509Authority(trustDomain, ttlMs, nowMs)
          : createProvenIntermediate(trustDomain, upstream, ttlMs, nowMs),
    );
  }

  function logRotation(nowMs: number): void {
    const x509 = current.x509.map((authority) => authority.certificate.serialNumber.toLowerCase());
    const x509Active = activeTerm(current.x509, nowMs)?.certificate.serialNumber.toLowerCase();
    const jwt = current.jwt.map(({ keyId }) => keyId);
    const jwtActive = activeTerm(current.jwt, nowMs)?.keyId;
    const state = { sequence: current.sequence, x509, x509Active, jwt, jwtActive };
    if (JSON.stringify(state) === lastLogged) return;
    lastLogged = JSON.stringify(state);
    log.info({ event: "ca.rotated", ...state });
  }

  /** One at a time; who comes meanwhile waits for the same one. */
  function maintain(): Promise<void> {
    maintaining ??= bringUpToDate()
      .then(
        // As seen from its beginning: what fell due since is late, not over.
        (asOfMs) => schedule(Math.min(nextChangeMs(current.x509, asOfMs), nextChangeMs(current.jwt, asOfMs))),
        (error: unknown) => {
          schedule(clock.nowMs() + RETRY_MS);
          throw error;
        },
      )
      .finally(() => {
        maintaining = undefined;
      });
    return maintaining;
  }

  function schedule(momentMs: number): void {
    cancelWake();
    if (closed) return;
    cancelWake = wakeAt(clock, momentMs, () => {
      maintain().catch((error: unknown) => {
        log.error({ event: "ca.rotation_failed", error: String(error) });
      });
    });
  }

  async function signing<T extends Term>(terms: () => readonly T[]): Promise<T> {
    let problem: unknown;
    // Twice: one that was under way may have begun before a machine slept.
    for (let tries = 0; tries < 2 && isDue(terms(), clock.nowMs()); tries++) {
      // A disk that is full must not stop what the present authority can still sign.
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await maintain().catch((error: unknown) => {
        problem = error;
      });
    }
    const active = activeTerm(terms(), clock.nowMs());
    if (active === undefined) throw problem ?? new TypeError("no authority could be made");
    return active;
  }

  await maintain();
  return {
    get current() {
      return current;
    },
    signingX509: () => signing(() => current.x509),
    signingJwt: () => signing(() => current.jwt),
    async refresh() {
      // What is being made may have begun before the terms changed.
      await maintaining?.catch(() => undefined);
      await maintain();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      closed = true;
      cancelWake();
    },
  };
}

const isDue = (terms: readonly Term[], nowMs: number): boolean => nowMs >= preparationMs(liveTerms(terms, nowMs));

/** The live terms, and a new one when it is time or when the newest is not of the kind that is wanted now. */
async function successors<T extends Term>(
  terms: readonly T[],
  nowMs: number,
  isWanted: (term: T) => boolean,
  create: () => Promise<T>,
): Promise<readonly T[]> {
  const live = liveTerms(terms, nowMs);
  const newest = live.at(-1);
  if (newest !== undefined && !isWanted(newest)) {
    return [...live, { ...(await create()), activatesMs: switchMs(activeTerm(live, nowMs) ?? newest, nowMs) }];
  }
  return isDue(terms, nowMs) ? [...live, await create()] : live;
}

function sameMembers<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((member, index) => member === b[index]);
}
