import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import { type LoadedPolicies, type LoadTurns, loadPolicies, loadPoliciesInTurns } from "../authz/load-policies.ts";
import type { PolicyOptions } from "../authz/policy-options.ts";
import type { SourceFile } from "../config/policy-source.ts";
import type { SidecarConfig } from "../config/sidecar-config.ts";
import type { Warning } from "../core/errors.ts";
import type { TrustDomain } from "../core/spiffe-id.ts";
import type { PolicyInputs } from "../proxy/workers/messages.ts";
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

/** Policies as compiled, and what from: worker threads compile them again for themselves. */
export interface Compiled extends PolicyInputs {
  readonly policy: CompiledPolicy;
}

/** A compiled change that is not in force yet. */
export interface PreparedPolicies extends Compiled {
  /** Makes it the state. */
  commit(): void;
}

/** Holds files and options, and compiles them anew when one of them changes. */
export interface SidecarPolicies {
  readonly state: PolicyState;
  /** The same with what it was made from. */
  readonly compiled: Compiled;
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
  const optionsOf = (of: typeof inputs): PolicyOptions => policyOptionsOf(of.config, of.localTrustDomain);
  const compile = (next: typeof inputs): PolicyState => stateOf(loadPolicies(next.files, optionsOf(next)));
  let state = compile(inputs);
  const prepared = (next: typeof inputs, compiled: PolicyState): PreparedPolicies => ({
    policy: compiled.policy,
    files: next.files,
    options: optionsOf(next),
    commit() {
      inputs = next;
      state = compiled;
    },
  });
  return {
    get state() {
      return state;
    },
    get compiled() {
      return { policy: state.policy, files: inputs.files, options: optionsOf(inputs) };
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
        const compiled = stateOf(await loadPoliciesInTurns(next.files, optionsOf(next), turns));
        // Another change came first: this one must stand on it.
        if (inputs === before) return prepared(next, compiled);
      }
    },
  };
}
