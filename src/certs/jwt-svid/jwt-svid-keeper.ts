import type { Clock } from "../../core/clock.ts";
import { asCountersignError, CountersignError } from "../../core/errors.ts";
import type { IdentitySource, IdentityState, JwtSvid } from "../../core/identity.ts";
import type { SpiffeId } from "../../core/spiffe-id.ts";

/** A JWT-SVID that something of the configuration needs. */
export interface WantedJwtSvid {
  readonly audience: string;
  /** Hint of the SVID that it goes with; "": the default one. */
  readonly hint: string;
}

/** Our JWT-SVIDs for outbound calls, fetched ahead of need and renewed at half of their life, so that no call waits. */
export interface JwtSvidKeeper {
  /** What is wanted from now on; what is no longer wanted is forgotten. */
  setWanted(wanted: readonly WantedJwtSvid[]): void;
  /** The token to send now, a secret, or why there is none. */
  current(audience: string, hint: string): string | CountersignError;
  close(): void;
}

export interface JwtSvidKeeperOptions {
  readonly identity: IdentitySource;
  readonly clock: Clock;
  /** A fetch failed: the code and one line without any token. */
  readonly onProblem: (audience: string, problem: CountersignError) => void;
}

const BACKOFF_STEP_MS = 1_000;
const BACKOFF_LIMIT_MS = 30_000;
/** A token this close to its end would expire on the way. */
const MARGIN_MS = 2_000;

interface Kept {
  readonly close: () => void;
  readonly current: () => string | CountersignError;
  readonly onIdentity: (state: IdentityState) => void;
}

export function createJwtSvidKeeper({ identity, clock, onProblem }: JwtSvidKeeperOptions): JwtSvidKeeper {
  const kept = new Map<string, Kept>();
  const keyOf = ({ audience, hint }: WantedJwtSvid): string => JSON.stringify([audience, hint]);
  const unsubscribe = identity.subscribe((state) => {
    for (const one of kept.values()) one.onIdentity(state);
  });

  function keep({ audience, hint }: WantedJwtSvid): Kept {
    let svid: JwtSvid | undefined;
    let problem: CountersignError | undefined;
    let failures = 0;
    let fetching = false;
    let isClosed = false;
    let cancelNext: () => void = () => undefined;

    const schedule = (delayMs: number): void => {
      cancelNext();
      cancelNext = clock.after(delayMs, () => void fetch()); // never rejects: what fails is said by current()
    };
    const fetch = async (): Promise<void> => {
      if (fetching) return;
      fetching = true;
      const wanted = ownerOf(identity.state, hint);
      try {
        if (identity.fetchJwtSvid === undefined)
          throw new CountersignError("E_JWT_SVID_NONE", `${identity.description} gives no JWT-SVIDs`);
        const next = await identity.fetchJwtSvid(audience, hint);
        if (isClosed) return;
        // Our identity may have become another one on the way.
        if (ownerOf(identity.state, hint) !== next.spiffeId)
          throw new CountersignError("E_JWT_SVID_NONE", "our identity changed while a JWT-SVID was fetched");
        svid = next;
        problem = undefined;
        failures = 0;
        schedule(Math.max(BACKOFF_STEP_MS, (next.expiresMs - clock.nowMs()) / 2));
      } catch (error) {
        if (isClosed) return;
        const failed = asCountersignError(error, "E_JWT_SVID_NONE", "a JWT-SVID could not be fetched");
        if (problem?.message !== failed.message && wanted !== undefined) onProblem(audience, failed);
        problem = failed;
        failures++;
        schedule(Math.min(failures * BACKOFF_STEP_MS, BACKOFF_LIMIT_MS));
      } finally {
        fetching = false;
      }
    };
    void fetch(); // never rejects

    return {
      current() {
        if (svid !== undefined && svid.expiresMs - MARGIN_MS > clock.nowMs()) return svid.token;
        const because = problem === undefined ? "it is being fetched" : `${problem.code} ${problem.message}`;
        return new CountersignError(
          "E_JWT_SVID_NONE",
          `no JWT-SVID for the audience ${JSON.stringify(audience)}: ${because}`,
        );
      },
      onIdentity(state) {
        const owner = ownerOf(state, hint);
        if (owner === svid?.spiffeId) return;
        svid = undefined; // a token of an identity that we no longer have goes with it
        failures = 0;
        if (owner !== undefined) schedule(0);
      },
      close() {
        isClosed = true;
        cancelNext();
      },
    };
  }

  return {
    setWanted(wanted) {
      const keys = new Map(wanted.map((one) => [keyOf(one), one]));
      for (const [key, one] of kept) {
        if (keys.has(key)) continue;
        one.close();
        kept.delete(key);
      }
      for (const [key, one] of keys) if (!kept.has(key)) kept.set(key, keep(one));
    },
    current(audience, hint) {
      return (
        kept.get(keyOf({ audience, hint }))?.current() ?? new CountersignError("E_JWT_SVID_NONE", "none is wanted")
      );
    },
    close() {
      unsubscribe();
      for (const one of kept.values()) one.close();
      kept.clear();
    },
  };
}

/** Whose token goes with this hint. */
function ownerOf(state: IdentityState, hint: string): SpiffeId | undefined {
  if (state.kind !== "serving" && state.kind !== "stale") return undefined;
  const { svids } = state.snapshot;
  return (hint === "" ? svids[0] : svids.find((svid) => svid.hint === hint))?.spiffeId;
}
