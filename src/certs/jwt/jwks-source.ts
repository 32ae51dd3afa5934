import type { Clock } from "../../core/clock.ts";
import { asCountersignError, type CountersignError } from "../../core/errors.ts";
import { discoverJwksUri } from "./discover-jwks.ts";
import { type JwtKeySet, parseJwkSet } from "./jwk-set.ts";

/** A document of an issuer, as it was fetched. */
export interface FetchedDocument {
  readonly text: string;
  /** How long it may be kept, from Cache-Control; undefined: it doesn't say. */
  readonly maxAgeMs: number | undefined;
}

/** Fetches one document. Rejects with CountersignError E_JWKS_…, also when the signal says that time is over. */
export type FetchDocument = (url: string, signal: AbortSignal) => Promise<FetchedDocument>;

/** Where an issuer's keys are: at a URL, or where its OpenID configuration says. */
export type JwksLocation =
  | { readonly kind: "uri"; readonly uri: string }
  | { readonly kind: "issuer"; readonly issuer: string };

export interface JwksSourceOptions {
  readonly location: JwksLocation;
  readonly fetch: FetchDocument;
  readonly clock: Clock;
  /** For everything that one fetch does, discovery included; asked at each. */
  readonly timeoutMs: () => number;
  /** 0 to 1: spreads the refreshes of many sidecars. */
  readonly random: () => number;
  readonly onLoaded: (state: JwksState) => void;
  readonly onFailed: (error: CountersignError, state: JwksState) => void;
}

/** For status and metrics. */
export interface JwksState {
  /** The URL of the keys, or the issuer that is asked for it. */
  readonly from: string;
  readonly keys: number;
  readonly skipped: number;
  /** Wall clock of the last good fetch; undefined: none yet. */
  readonly loadedAtMs: number | undefined;
  readonly fetches: number;
  readonly failures: number;
  /** Why the newest fetch failed; undefined: it did not. */
  readonly problem: CountersignError | undefined;
}

/** An issuer's keys, fetched at once, again ahead of need, and again for a key that is missing. */
export interface JwksSource {
  /** The keys to verify with now; undefined before the first fetch and once the last good one is too old. */
  readonly current: JwtKeySet | undefined;
  readonly state: JwksState;
  /** A fetch that is under way, to wait for; it never rejects and ends within the timeout. */
  readonly pending: Promise<void> | undefined;
  /** A token is to be verified: begins the fetch that is due by the wall clock, in case the machine has slept and timers with it. */
  wake(): void;
  /** A token names a key that `current` lacks: resolves after a fetch, or at once within the cooldown after the last one. */
  missing(): Promise<void>;
  /** What was fetched might not be fetched any more by the rules that `fetch` has now: fetches at once, and if that fails the keys are gone. */
  refetch(): void;
  close(): void;
}

/** istiod's own interval (PILOT_JWT_PUB_KEY_REFRESH_INTERVAL). */
const DEFAULT_AGE_MS = 20 * 60_000;
const MIN_AGE_MS = 60_000;
const MAX_AGE_MS = 3_600_000;
/** Share of the age after which it is fetched again: there is time for several failures before it counts as old. */
const REFRESH_AT = 0.8;
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 60_000;
/** A key that was withdrawn is not trusted for longer, however long the issuer cannot be reached. */
const MAX_STALE_MS = 24 * 3_600_000;
/** Callers choose kid: they must not make us ask the issuer as often as they like. */
export const MISSING_KEY_COOLDOWN_MS = 30_000;

/** Begins to fetch at once. A failure keeps the last good keys and is tried again, ever more slowly. */
export function createJwksSource(options: JwksSourceOptions): JwksSource {
  const { location, clock } = options;
  const from = location.kind === "uri" ? location.uri : location.issuer;
  const closed = new AbortController();
  let keys: JwtKeySet | undefined;
  let loadedAtMs: number | undefined;
  let loadedMs = 0;
  let pending: Promise<void> | undefined;
  /** Ends the fetch that is under way. */
  let running = new AbortController();
  /** The keys came by rules that are not in force any more. */
  let isSuspect = false;
  let startedMs = Number.NEGATIVE_INFINITY;
  let dueAtMs = 0;
  let cancelNext = (): void => undefined;
  let fetches = 0;
  let failures = 0;
  let inARow = 0;
  let problem: CountersignError | undefined;

  const state = (): JwksState => ({
    from,
    keys: keys?.keys.length ?? 0,
    skipped: keys?.skipped ?? 0,
    loadedAtMs,
    fetches,
    failures,
    problem,
  });

  async function fetchKeys(signal: AbortSignal): Promise<readonly [set: JwtKeySet, ageMs: number]> {
    const uri = location.kind === "uri" ? location.uri : await discoverJwksUri(location.issuer, options.fetch, signal);
    const { text, maxAgeMs } = await options.fetch(uri, signal);
    return [parseJwkSet(text), Math.min(Math.max(maxAgeMs ?? DEFAULT_AGE_MS, MIN_AGE_MS), MAX_AGE_MS)];
  }

  async function load(): Promise<void> {
    cancelNext();
    startedMs = clock.monotonicMs();
    fetches++;
    const over = new AbortController();
    running = over;
    const cancelTimeout = clock.after(options.timeoutMs(), () => over.abort());
    let fetched: Awaited<ReturnType<typeof fetchKeys>> | undefined;
    let failure: unknown;
    try {
      fetched = await fetchKeys(AbortSignal.any([over.signal, closed.signal]));
    } catch (error) {
      failure = error;
    }
    cancelTimeout();
    // a newer one has begun, by other rules: whoever waited for this one waits for that
    if (running !== over) return pending;
    pending = undefined;
    if (closed.signal.aborted) return undefined;
    const nextMs = fetched === undefined ? failed(failure) : loaded(...fetched);
    const delayMs = nextMs * (1 - options.random() / 10);
    dueAtMs = clock.nowMs() + delayMs;
    cancelNext = clock.after(delayMs, start);
    if (problem === undefined) options.onLoaded(state());
    else options.onFailed(problem, state());
    return undefined;
  }

  /** In how many milliseconds to fetch again. */
  function loaded(set: JwtKeySet, ageMs: number): number {
    keys = set;
    loadedAtMs = clock.nowMs();
    loadedMs = clock.monotonicMs();
    isSuspect = false;
    problem = undefined;
    inARow = 0;
    return ageMs * REFRESH_AT;
  }

  function failed(error: unknown): number {
    problem = asCountersignError(error, "E_JWKS_FETCH", "the key set could not be fetched");
    if (isSuspect) {
      keys = undefined;
      loadedAtMs = undefined;
      isSuspect = false;
    }
    failures++;
    return Math.min(FIRST_RETRY_MS * 2 ** inARow++, LAST_RETRY_MS);
  }

  /** By either clock: one stands still while the machine sleeps, the other may be set back. */
  function isStale(loadedAt: number): boolean {
    return clock.nowMs() - loadedAt > MAX_STALE_MS || clock.monotonicMs() - loadedMs > MAX_STALE_MS;
  }

  function start(): void {
    if (!closed.signal.aborted) pending ??= load();
  }

  start();
  return {
    get current() {
      return loadedAtMs === undefined || isStale(loadedAtMs) ? undefined : keys;
    },
    get state() {
      return state();
    },
    get pending() {
      return pending;
    },
    wake() {
      if (pending === undefined && clock.nowMs() >= dueAtMs) start();
    },
    missing() {
      if (pending === undefined && clock.monotonicMs() - startedMs >= MISSING_KEY_COOLDOWN_MS) start();
      return pending ?? Promise.resolve();
    },
    refetch() {
      isSuspect = true;
      running.abort();
      pending = undefined;
      start();
    },
    close() {
      closed.abort();
      cancelNext();
    },
  };
}
