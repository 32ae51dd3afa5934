import { CountersignError } from "../core/errors.ts";
import type { IdentitySnapshot, IdentitySource, IdentityState, JwtSvid } from "../core/identity.ts";

/** An identity source that another one can take over from while it runs. */
export interface SwappableSource extends IdentitySource {
  /** `next` takes over as soon as it has an SVID; until then the old one serves. A source that was waiting to take over is
   *  closed. Takes over the duty to close `next`. */
  replace(next: IdentitySource): void;
  /** Rejects with E_JWT_SVID_NONE while the source in force gives none. */
  fetchJwtSvid(audience: string, hint: string): Promise<JwtSvid>;
}

/** Passes on the states of the source in force. Generations go on rising over a swap. */
export function createSwappableSource(first: IdentitySource): SwappableSource {
  let current = first;
  let pending: IdentitySource | undefined;
  let stopPending: () => void = () => undefined;
  let generation = 0;
  /** The snapshot of `current` that was passed on last, as it came and as it went. */
  let passed: { readonly from: IdentitySnapshot; readonly to: IdentitySnapshot } | undefined;
  const listeners = new Set<(state: IdentityState) => void>();

  const renumbered = (state: IdentityState): IdentityState => {
    if (state.kind !== "serving" && state.kind !== "stale") return state;
    const { snapshot } = state;
    if (passed?.from !== snapshot) {
      generation = Math.max(generation + 1, snapshot.generation);
      passed = { from: snapshot, to: generation === snapshot.generation ? snapshot : { ...snapshot, generation } };
    }
    return { ...state, snapshot: passed.to };
  };
  let state = renumbered(current.state);
  const pass = (next: IdentityState): void => {
    state = renumbered(next);
    for (const listener of listeners) listener(state);
  };
  let stopCurrent = current.subscribe(pass);

  const dropPending = (): void => {
    stopPending();
    stopPending = () => undefined;
    pending?.close();
    pending = undefined;
  };
  const adopt = (next: IdentitySource): void => {
    stopPending();
    stopPending = () => undefined;
    pending = undefined;
    stopCurrent();
    current.close();
    current = next;
    passed = undefined;
    stopCurrent = current.subscribe(pass);
    pass(current.state);
  };

  return {
    get description() {
      return current.description;
    },
    get state() {
      return state;
    },
    get pending() {
      if (pending === undefined) return undefined;
      return {
        description: pending.description,
        problem: "problem" in pending.state ? pending.state.problem : undefined,
      };
    },
    get federation() {
      return current.federation;
    },
    fetchJwtSvid(audience, hint) {
      return (
        current.fetchJwtSvid?.(audience, hint) ??
        Promise.reject(new CountersignError("E_JWT_SVID_NONE", `${current.description} gives no JWT-SVIDs`))
      );
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    replace(next) {
      dropPending();
      if (next.state.kind === "serving" || !("snapshot" in state)) {
        adopt(next);
        return;
      }
      pending = next;
      stopPending = next.subscribe((nextState) => {
        if (nextState.kind === "serving") adopt(next);
        else for (const listener of listeners) listener(state); // status shows why it waits
      });
    },
    close() {
      dropPending();
      stopCurrent();
      current.close();
      listeners.clear();
    },
  };
}
