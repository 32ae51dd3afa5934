import type { IdentitySource, IdentityState } from "../core/identity.ts";
import { type TrustDomain, trustDomainOf } from "../core/spiffe-id.ts";

/** An identity source that the data plane may serve by: it has no SVID that the policies in force are not made for. */
export interface FittingIdentity extends IdentitySource {
  /** Other policies are in force: what was held back may fit now. */
  look(): void;
}

/** Holds states back whose trust domain is not that of the policies: what `cluster.local` and the aliases stand for would be unknown, and a DENY
 *  that names them would deny nobody. Until they fit, the last state that did stays, which the old policies are for, and at first there is
 *  none. The source stays its owner's to close. */
export function createFittingIdentity(
  source: Required<Pick<IdentitySource, "fetchJwtSvid">> & IdentitySource,
  madeFor: () => TrustDomain | undefined,
  nowMs: number,
): FittingIdentity {
  const fits = (state: IdentityState): boolean =>
    !("snapshot" in state) || trustDomainOf(state.snapshot.svids[0].spiffeId) === madeFor();
  let state: IdentityState = fits(source.state)
    ? source.state
    : { kind: "waiting", sinceMs: nowMs, problem: undefined };
  const listeners = new Set<(state: IdentityState) => void>();
  const look = (): void => {
    if (state === source.state || !fits(source.state)) return;
    ({ state } = source);
    for (const listener of listeners) listener(state);
  };
  return {
    get description() {
      return source.description;
    },
    get state() {
      return state;
    },
    fetchJwtSvid: (audience, hint) => source.fetchJwtSvid(audience, hint),
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    look,
    close() {
      listeners.clear();
    },
  };
}
