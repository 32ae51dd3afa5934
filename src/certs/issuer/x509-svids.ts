import type { Clock } from "../../core/clock.ts";
import type { SpiffeId } from "../../core/spiffe-id.ts";
import type { Authorities } from "./authorities.ts";
import { type IssuedX509Svid, issueX509Svid } from "./x509-authority.ts";

export interface RotatingX509Svid extends IssuedX509Svid {
  /** When its successor is issued. */
  readonly rotateAtMs: number;
}

/** One current X.509-SVID an ID: every workload of an ID gets the same one, as from SPIRE, so that asking again and
 *  again costs nothing. */
export interface X509Svids {
  /** The current SVID, issued now if there is none or its time to rotate has come. */
  current(id: SpiffeId): Promise<RotatingX509Svid>;
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
  const issued = new Map<SpiffeId, Promise<RotatingX509Svid>>();

  async function issue(id: SpiffeId): Promise<RotatingX509Svid> {
    const { svidTtlMs, svidRotationMs } = settings();
    const svid = await issueX509Svid(await authorities.signingX509(), id, svidTtlMs, clock.nowMs());
    const life = svid.notAfterMs - svid.issuedMs;
    return { ...svid, rotateAtMs: svid.issuedMs + Math.min(svidRotationMs ?? Infinity, life / 2) };
  }

  return {
    async current(id) {
      const known = issued.get(id);
      if (known !== undefined) {
        const svid = await known;
        if (clock.nowMs() < svid.rotateAtMs) return svid;
      }
      // Someone else may have begun while we waited.
      const begun = issued.get(id);
      if (begun !== undefined && begun !== known) return begun;
      const next = issue(id);
      issued.set(id, next);
      next.catch(() => {
        if (issued.get(id) === next) issued.delete(id);
      });
      return next;
    },
    retain(ids) {
      for (const id of issued.keys()) if (!ids.has(id)) issued.delete(id);
    },
  };
}
