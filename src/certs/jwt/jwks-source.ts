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
  /** For everything that one fetch does, discovery included. */
  readonly timeoutMs: number;
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
  /** A token names a key that `current` lacks: resolves after a fetch, or at once within the cooldown after the last one. */
  missing(): Promise<void>;
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
  let pending: Promise<void> | undefined;
  let startedMs = Number.NEGATIVE_INFINITY;
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

  async function fetchKeys(signal: AbortSignal): Promise<number> {
    const uri = location.kind === "uri" ? location.uri : await discoverJwksUri(location.issuer, options.fetch, signal);
    const { text, maxAgeMs } = await options.fetch(uri, signal);
    keys = parseJwkSet(text);
    return Math.min(Math.max(maxAgeMs ?? DEFAULT_AGE_MS, MIN_AGE_MS), MAX_AGE_MS);
  }

  async function load(): Promise<void> {
    cancelNext();
    startedMs = clock.monotonicMs();
    fetches++;
    const over = new AbortController();
    const cancelTimeout = clock.after(options.timeoutMs, () => over.abort());
    let nextMs: number;
    try {
      nextMs = (await fetchKeys(AbortSignal.any([over.signal, closed.signal]))) * REFRESH_AT;
      loadedAtMs = clock.nowMs();
      problem = undefined;
      inARow = 0;
    } catch (error) {
      problem = asCountersignError(error, "E_JWKS_FETCH", "the key set could not be fetched");
      nextMs = Math.min(FIRST_RETRY_MS * 2 ** inARow, LAST_RETRY_MS);
      failures++;
      inARow++;
    }
    cancelTimeout();
    pending = undefined;
    if (closed.signal.aborted) return;
    cancelNext = clock.after(nextMs * (1 - options.random() / 10), start);
    if (problem === undefined) options.onLoaded(state());
    else options.onFailed(problem, state());
  }

  function start(): void {
    pending ??= load();
  }

  start();
  return {
    get current() {
      return loadedAtMs === undefined || clock.nowMs() - loadedAtMs > MAX_STALE_MS ? undefined : keys;
    },
    get state() {
      return state();
    },
    get pending() {
      return pending;
    },
    missing() {
      if (pending === undefined && clock.monotonicMs() - startedMs >= MISSING_KEY_COOLDOWN_MS) start();
      return pending ?? Promise.resolve();
    },
    close() {
      closed.abort();
      cancelNext();
    },
  };
}
