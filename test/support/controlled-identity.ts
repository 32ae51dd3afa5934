import { CountersignError } from "../../src/core/errors.ts";
import type { IdentitySnapshot, IdentitySource, IdentityState, JwtSvid, TrustBundle } from "../../src/core/identity.ts";
import { parseTrustDomain } from "../../src/core/spiffe-id.ts";
import { type TestCa, type TestIssued, testSvid } from "./cert-factory.ts";

export interface ControlledIdentity extends IdentitySource {
  /** Goes with what `serve` serves from now on. */
  jwtBundles: IdentitySnapshot["jwtBundles"];
  /** What fetchJwtSvid does; by default it rejects. */
  jwtSvid: (audience: string, hint: string) => JwtSvid | Promise<JwtSvid>;
  set(state: IdentityState): void;
  /** Serves this SVID with these trust domains' bundles, as the next generation. */
  serve(issued: TestIssued, cas: readonly TestCa[]): void;
}

/** An identity source whose state the test sets. */
export function controlledIdentity(): ControlledIdentity {
  let state: IdentityState = { kind: "waiting", sinceMs: Date.now(), problem: undefined };
  let generation = 0;
  const listeners = new Set<(state: IdentityState) => void>();
  const source: ControlledIdentity = {
    description: "a test",
    jwtBundles: undefined,
    jwtSvid: () => Promise.reject(new CountersignError("E_WORKLOAD_API_DENIED", "no identity issued")),
    async fetchJwtSvid(audience, hint) {
      return source.jwtSvid(audience, hint);
    },
    get state() {
      return state;
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: () => listeners.clear(),
    set(next) {
      state = next;
      for (const listener of listeners) listener(state);
    },
    serve(issued, cas) {
      const { jwtBundles } = source;
      source.set({ kind: "serving", snapshot: { ...snapshotOf(issued, cas, ++generation), jwtBundles } });
    },
  };
  return source;
}

function snapshotOf(issued: TestIssued, cas: readonly TestCa[], generation: number): IdentitySnapshot {
  const bundles = new Map<TrustBundle["trustDomain"], TrustBundle>();
  for (const ca of cas) bundles.set(parseTrustDomain(ca.trustDomain), ca.trustBundle());
  return { generation, svids: [testSvid(issued)], bundles };
}
