import { readyForConditions } from "../authz/cel-libraries.ts";
import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import {
  loadPolicies,
  loadPoliciesInTurns,
  openPackedPolicy,
  type PackedPolicy,
  readyToOpen,
} from "../authz/load-policies.ts";
import type { PolicyOptions } from "../authz/policy-options.ts";
import type { SourceFile } from "../config/policy-source.ts";
import type { SidecarConfig } from "../config/sidecar-config.ts";
import { sameFiles } from "../config/source-changes.ts";
import type { Warning } from "../core/errors.ts";
import type { TrustDomain } from "../core/spiffe-id.ts";
import type { PolicyInputs } from "../proxy/workers/messages.ts";
import { eventLoopTurns } from "../sys/event-loop-turns.ts";
import { policyOptionsOf } from "./policy-options.ts";
import { compileApart, isLargeSet } from "./policy-process.ts";

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

/** Policies as compiled, and what worker threads make them from. */
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
  /** Too much to be compiled while calls wait. */
  readonly isLarge: boolean;
  /** Compiles the same files for a trust domain at once. Throws CountersignErrors. Nothing changes before the commit. */
  prepareNow(localTrustDomain: TrustDomain): PreparedPolicies;
  /** Compiles other files, or the same for another configuration or trust domain, while calls are served: a few rules in turns of less than a
   *  millisecond, many in a process of their own. */
  prepare(change: PolicyChange): Promise<PreparedPolicies>;
}

interface Inputs {
  readonly config: SidecarConfig;
  readonly files: readonly SourceFile[];
  readonly localTrustDomain: TrustDomain | undefined;
}

interface Loaded {
  readonly policy: CompiledPolicy;
  readonly warnings: readonly Warning[];
  /** Of a set that was compiled in a process of its own. */
  readonly packed: PackedPolicy | undefined;
}

/** A signal to read again that finds what is known costs nothing. */
function isSame(next: Inputs, before: Inputs): boolean {
  const { config, localTrustDomain, files } = next;
  return config === before.config && localTrustDomain === before.localTrustDomain && sameFiles(files, before.files);
}

function optionsOf({ config, localTrustDomain }: Inputs): PolicyOptions {
  return policyOptionsOf(config, localTrustDomain);
}

function compileNow(inputs: Inputs): Loaded {
  const { policy, warnings } = loadPolicies(inputs.files, optionsOf(inputs));
  return { policy, warnings, packed: undefined };
}

async function compileLarge(inputs: Inputs, inBackground: boolean, signal: AbortSignal | undefined): Promise<Loaded> {
  const { packed, warnings } = await compileApart(inputs.files, optionsOf(inputs), { inBackground, signal });
  await readyToOpen(packed);
  return { policy: openPackedPolicy(packed), warnings, packed };
}

async function compile(inputs: Inputs, signal: AbortSignal | undefined): Promise<Loaded> {
  if (isLargeSet(inputs.files)) return compileLarge(inputs, true, signal);
  const { policy, warnings } = await loadPoliciesInTurns(inputs.files, optionsOf(inputs), eventLoopTurns);
  return { policy, warnings, packed: undefined };
}

/** Compiles the first set. Rejects with CountersignErrors: an invalid set stops the start. The signal calls off what is compiled, this set and
 *  those that come. */
export async function createSidecarPolicies(
  config: SidecarConfig,
  files: readonly SourceFile[],
  nowMs: () => number,
  signal?: AbortSignal,
): Promise<SidecarPolicies> {
  let inputs: Inputs = { config, files, localTrustDomain: undefined };
  await readyForConditions(files);
  let loaded = isLargeSet(files) ? await compileLarge(inputs, false, signal) : compileNow(inputs);
  let loadedAtMs = nowMs();
  const compiledOf = (from: Inputs, { policy, packed }: Loaded): Compiled => ({
    policy,
    packed,
    options: optionsOf(from),
    // what is compiled needs nothing else
    files: packed === undefined ? from.files : [],
  });
  const prepared = (from: Inputs, next: Loaded): PreparedPolicies => {
    const atMs = nowMs();
    return {
      ...compiledOf(from, next),
      commit() {
        inputs = from;
        loaded = next;
        loadedAtMs = atMs;
      },
    };
  };
  return {
    get state() {
      return { policy: loaded.policy, warnings: loaded.warnings, loadedAtMs };
    },
    get compiled() {
      return compiledOf(inputs, loaded);
    },
    get files() {
      return inputs.files;
    },
    get localTrustDomain() {
      return inputs.localTrustDomain;
    },
    get isLarge() {
      return isLargeSet(inputs.files);
    },
    prepareNow(localTrustDomain) {
      const next = { ...inputs, localTrustDomain };
      return prepared(next, compileNow(next));
    },
    async prepare(change) {
      for (;;) {
        const before = inputs;
        const next = { ...before, ...change };
        const compiled = isSame(next, before) ? loaded : await compile(next, signal);
        // Another change came first: this one must stand on it.
        if (inputs === before) return prepared(next, compiled);
      }
    },
  };
}
