import type { Clock } from "../../core/clock.ts";
import type { SpiffeId } from "../../core/spiffe-id.ts";
import type { Authorities } from "./authorities.ts";
import { type IssuedX509Svid, issueX509Svid } from "./x509-authority.ts";

export interface RotatingX509Svid extends IssuedX509Svid {
  /** When its successor is issued. */
  readonly rotateAtMs: number;
  /** Who asks from here on gets the successor already, so that a caller's several SVIDs, issued a moment apart, are renewed
   *  in one push. */
  readonly renewableFromMs: number;
}

const MAX_EARLY_MS = 1000;

/** One current X.509-SVID an ID and life: every workload of an ID gets the same one, as from SPIRE, so that asking again
 *  and again costs nothing. */
export interface X509Svids {
  /** The current SVID, issued now if there is none or its time to rotate has come. `ttlMs` undefined: the issuer's. */
  current(id: SpiffeId, ttlMs?: number): Promise<RotatingX509Svid>;
  /** Forgets the keys of all other IDs. */
  retain(ids: ReadonlySet<SpiffeId>): void;
}

export interface X509SvidSettings {
  readonly svidTtlMs: number;
  readonly svidRotationMs: number | undefined;
}

export function createX509Svids(
  authorities: Pick<Authorities, "signingX509">,
  clock: Clock,
  settings: () => X509SvidSettings,
): X509Svids {
  /** By life and ID. */
  const issued = new Map<string, Promise<RotatingX509Svid>>();

  async function issue(id: SpiffeId, ttlMs: number): Promise<RotatingX509Svid> {
    const { svidRotationMs } = settings();
    const svid = await issueX509Svid(await authorities.signingX509(), id, ttlMs, clock.nowMs());
    const life = svid.notAfterMs - svid.issuedMs;
    const intervalMs = Math.min(svidRotationMs ?? Infinity, life / 2);
    const rotateAtMs = svid.issuedMs + intervalMs;
    return { ...svid, rotateAtMs, renewableFromMs: rotateAtMs - Math.min(MAX_EARLY_MS, intervalMs / 10) };
  }

  return {
    async current(id, ttlMs = settings().svidTtlMs) {
      const key = `${ttlMs} ${id}`;
      const known = issued.get(key);
      if (known !== undefined) {
        const svid = await known;
        if (clock.nowMs() < svid.renewableFromMs) return svid;
      }
      // Someone else may have begun while we waited.
      const begun = issued.get(key);
      if (begun !== undefined && begun !== known) return begun;
      const next = issue(id, ttlMs);
      issued.set(key, next);
      next.catch(() => {
        if (issued.get(key) === next) issued.delete(key);
      });
      return next;
    },
    retain(ids) {
      for (const key of issued.keys()) {
        const id = key.slice(key.indexOf(" ") + 1) as SpiffeId;
        if (!ids.has(id)) issued.delete(key);
      }
    },
  };
}
