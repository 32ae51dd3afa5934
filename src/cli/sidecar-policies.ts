import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import { type LoadedPolicies, type LoadTurns, loadPolicies, loadPoliciesInTurns } from "../authz/load-policies.ts";
import type { SourceFile } from "../config/policy-source.ts";
import type { SidecarConfig } from "../config/sidecar-config.ts";
import type { Warning } from "../core/errors.ts";
import type { TrustDomain } from "../core/spiffe-id.ts";
import { policyOptionsOf } from "./policy-options.ts";

/** The policy in force and what it was made from. */
export interface PolicyState {
  readonly policy: CompiledPolicy;
  readonly warnings: readonly Warning[];
  readonly loadedAtMs: number;
}

export interface PolicyChange {
  readonly files?: readonly SourceFile[];
  readonly config?: SidecarConfig;
  readonly localTrustDomain?: TrustDomain;
}

/** A compiled change that is not in force yet. */
export interface PreparedPolicies {
  readonly policy: CompiledPolicy;
  /** Makes it the state. */
  commit(): void;
}

/** Holds files and options, and compiles them anew when one of them changes. */
export interface SidecarPolicies {
  readonly state: PolicyState;
  /** The files of the last set that was committed. */
  readonly files: readonly SourceFile[];
  readonly localTrustDomain: TrustDomain | undefined;
  /** Compiles other files, or the same for another configuration or trust domain. Throws CountersignErrors. Nothing changes
   *  before the commit. */
  prepare(change: PolicyChange): PreparedPolicies;
  /** The same in turns of a few milliseconds: calls are served meanwhile. */
  prepareInTurns(change: PolicyChange): Promise<PreparedPolicies>;
}

/** Lets other work happen between the turns of a load. */
const turns: LoadTurns = {
  nowMs: () => performance.now(),
  pause: () => new Promise((resolve) => void setImmediate(resolve)),
};

/** Compiles the first set. Throws CountersignErrors: an invalid set stops the start. */
export function createSidecarPolicies(
  config: SidecarConfig,
  files: readonly SourceFile[],
  nowMs: () => number,
): SidecarPolicies {
  let inputs: { config: SidecarConfig; files: readonly SourceFile[]; localTrustDomain: TrustDomain | undefined } = {
    config,
    files,
    localTrustDomain: undefined,
  };
  const stateOf = ({ policy, warnings }: LoadedPolicies): PolicyState => ({ policy, warnings, loadedAtMs: nowMs() });
  const compile = (next: typeof inputs): PolicyState =>
    stateOf(loadPolicies(next.files, policyOptionsOf(next.config, next.localTrustDomain)));
  let state = compile(inputs);
  const prepared = (next: typeof inputs, compiled: PolicyState): PreparedPolicies => ({
    policy: compiled.policy,
    commit() {
      inputs = next;
      state = compiled;
    },
  });
  return {
    get state() {
      return state;
    },
    get files() {
      return inputs.files;
    },
    get localTrustDomain() {
      return inputs.localTrustDomain;
    },
    prepare(change) {
      const next = { ...inputs, ...change };
      return prepared(next, compile(next));
    },
    async prepareInTurns(change) {
      for (;;) {
        const before = inputs;
        const next = { ...before, ...change };
        const options = policyOptionsOf(next.config, next.localTrustDomain);
        const compiled = stateOf(await loadPoliciesInTurns(next.files, options, turns));
        // Another change came first: this one must stand on it.
        if (inputs === before) return prepared(next, compiled);
      }
    },
  };
}
