import type { IdentitySource, IdentityState, JwtSvid } from "../../core/identity.ts";
import { identityFromWire, type WireIdentity } from "./identity-wire.ts";

/** A worker's identity source: the main thread has the real one. */
export interface RelayedIdentity extends IdentitySource {
  adopt(wire: WireIdentity): void;
}

/** `fetchJwtSvid` asks the main thread: a worker never talks to an agent. */
export function createRelayedIdentity(
  first: WireIdentity,
  fetchJwtSvid: (audience: string, hint: string) => Promise<JwtSvid>,
): RelayedIdentity {
  let state: IdentityState = identityFromWire(first, undefined);
  const listeners = new Set<(state: IdentityState) => void>();
  return {
    description: "the main thread",
    get state() {
      return state;
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    fetchJwtSvid,
    adopt(wire) {
      state = identityFromWire(wire, state);
      for (const listener of listeners) listener(state);
    },
    close: () => listeners.clear(),
  };
}
