import type { Clock } from "../core/clock.ts";
import { asCountersignError, CountersignError } from "../core/errors.ts";
import { createPolicyFetch, type PolicyFetch, PolicyFetchLater } from "./fetch-policies.ts";
import { type KeptPolicies, readKeptPolicies, writeKeptPolicies } from "./kept-policies.ts";
import { lookAtPolicies, verifyKept } from "./look-at-policies.ts";
import type { OpenedPolicySource } from "./policy-set-source.ts";
import {
  createUrlMemory,
  isToBeWritten,
  type LookResult,
  staleness,
  type UrlMemory,
  urlState,
} from "./policy-url-memory.ts";
import type { PolicyUrlConfig } from "./sidecar-config.ts";

export interface UrlSourceParts {
  readonly clock: Clock;
  /** From 0 to 1, to spread the sidecars of a fleet. */
  readonly random: () => number;
  readonly fetch?: PolicyFetch;
  /** Signed versions that this process has taken, by URL: no lower one is, whatever was kept. */
  readonly taken?: ReadonlyMap<string, number>;
  /** Calls off the look with which a source is opened. */
  readonly signal?: AbortSignal;
}

/** Policies at a URL. */
export interface OpenedPolicyUrl extends OpenedPolicySource {
  readonly config: PolicyUrlConfig;
  /** The highest signed version so far; 0: none. */
  readonly taken: number;
  /** The same with all that is known of it, for a configuration that differs in `refresh` and `maxAge` at most: undefined for another URL, key, name, cache
   *  or `ca`. What it is made from must not be watched any more when it is. */
  resume(config: PolicyUrlConfig): OpenedPolicyUrl | undefined;
}

/** How long a server may take before a kept copy that can be used is. */
const FIRST_ANSWER_MS = 2_000;
/** Longest wait after failures that follow one another. */
const MAX_BACK_OFF_MS = 10 * 60_000;

/** Opens policies at a URL: what the server has, else the kept copy while that is younger than maxAge; it is used as well when the server takes
 *  longer than 2 s, whose answer then follows as a change. A signature is verified in all cases. Rejects with CountersignError when there is
 *  neither. */
export async function openPolicyUrl(config: PolicyUrlConfig, parts: UrlSourceParts): Promise<OpenedPolicyUrl> {
  const { clock, signal = new AbortController().signal } = parts;
  const fetch = parts.fetch ?? createPolicyFetch(config.ca);
  const taken = parts.taken?.get(config.url) ?? 0;
  const { kept, keepProblem } = await readKept(config, taken);
  const tooOld = kept === undefined ? undefined : staleness(kept.confirmedAtMs, config, clock);
  const usable = tooOld === undefined ? kept : undefined;
  const nowMs = (): number => clock.nowMs();
  const first = resultOf(lookAtPolicies({ config, fetch, known: kept, taken, signal, nowMs }));
  const result = usable === undefined ? await first : await soon(first, clock);
  const failure = result !== undefined && "error" in result ? result.error : undefined;
  const copy = result !== undefined && "copy" in result ? result.copy : usable;
  if (copy === undefined) throw withPlace(config, [tooOld, failure, keepProblem]);
  const memory = createUrlMemory(copy, usable);
  memory.keepProblem = keepProblem;
  memory.written = kept;
  memory.problem = failure;
  if (result === undefined) {
    memory.problem = new CountersignError("E_POLICY_FETCH", "there is no answer yet: the kept copy is used");
    memory.first = first;
  }
  return urlSource(config, memory, { ...parts, fetch, taken });
}

interface OpenedParts {
  readonly clock: Clock;
  readonly random: () => number;
  readonly fetch: PolicyFetch;
  readonly taken: number;
}

function urlSource(config: PolicyUrlConfig, memory: UrlMemory, parts: OpenedParts): OpenedPolicyUrl {
  const { clock, fetch, taken } = parts;
  async function write(): Promise<void> {
    const copy = memory.lastGood?.copy;
    if (copy === undefined || !isToBeWritten(copy, memory.written, config)) return;
    try {
      await writeKeptPolicies(config.cache, copy);
      memory.written = copy;
      memory.keepProblem = undefined;
    } catch (error) {
      memory.keepProblem = asCountersignError(error, "E_POLICY_KEPT", "the policies cannot be kept");
    }
  }
  return {
    config,
    get newest() {
      return memory.newest;
    },
    get lastGood() {
      return memory.lastGood;
    },
    get refused() {
      return memory.refused;
    },
    get state() {
      return urlState(memory, config, clock);
    },
    get taken() {
      return Math.max(taken, memory.newest.copy.signature?.version ?? 0);
    },
    resume: (next) => (isSameSource(next, config) ? urlSource(next, memory, parts) : undefined),
    keep() {
      memory.writing = memory.writing.then(write);
      return memory.writing;
    },
    watch({ onChange, onState, signal }) {
      let cancel = (): void => undefined;
      let looking: Promise<void> | undefined;

      const lookNow = async (): Promise<void> => {
        const known = memory.newest.copy;
        const nowMs = (): number => clock.nowMs();
        const result = await (memory.first ?? resultOf(lookAtPolicies({ config, fetch, known, taken, signal, nowMs })));
        if (signal.aborted) return;
        memory.first = undefined;
        if (memory.take(result)) onChange();
        onState();
        plan("error" in result && result.error instanceof PolicyFetchLater ? result.error.waitMs : 0);
      };
      const plan = (atLeastMs: number): void => {
        const backedOff = Math.min(
          config.refreshMs * 2 ** Math.min(memory.failures, 20),
          Math.max(config.refreshMs, MAX_BACK_OFF_MS),
        );
        const spread = 0.9 + 0.2 * parts.random();
        memory.dueMs = clock.monotonicMs() + Math.max(atLeastMs, backedOff * spread);
        waitUntil(memory.dueMs);
      };
      const waitUntil = (dueMs: number): void => {
        cancel = clock.after(Math.max(0, dueMs - clock.monotonicMs()), () => void begin());
      };
      /** One look at a time. Never rejects. */
      const begin = (): Promise<void> => {
        cancel();
        looking ??= lookNow().finally(() => {
          looking = undefined;
        });
        return looking;
      };

      signal.addEventListener("abort", () => cancel(), { once: true });
      // another watch may have planned a look that is still to come, or to be made anew
      if (memory.first !== undefined) void begin();
      else if (memory.dueMs === undefined) plan(0);
      else waitUntil(memory.dueMs);
      return { reloadNow: () => (signal.aborted ? Promise.resolve() : begin()) };
    },
  };
}

function isSameSource(a: PolicyUrlConfig, b: PolicyUrlConfig): boolean {
  return a.url === b.url && a.publicKey === b.publicKey && a.name === b.name && a.ca === b.ca && a.cache === b.cache;
}

async function readKept(
  config: PolicyUrlConfig,
  taken: number,
): Promise<{ readonly kept: KeptPolicies | undefined; readonly keepProblem: CountersignError | undefined }> {
  try {
    const kept = await readKeptPolicies(config.cache, config.url);
    if (kept !== undefined) await verifyKept(kept, config, taken);
    return { kept, keepProblem: undefined };
  } catch (error) {
    const cause = asCountersignError(error, "E_POLICY_KEPT", "it cannot be read");
    const problem = new CountersignError("E_POLICY_KEPT", `the kept copy is not used: ${cause.message}`, { cause });
    return { kept: undefined, keepProblem: problem };
  }
}

function resultOf(looking: Promise<KeptPolicies>): Promise<LookResult> {
  return looking.then(
    (copy) => ({ copy }),
    (error: unknown) => ({ error: asCountersignError(error, "E_POLICY_FETCH", "the fetch failed") }),
  );
}

/** The result, or undefined when there is none in time. */
async function soon(result: Promise<LookResult>, clock: Clock): Promise<LookResult | undefined> {
  const late = Promise.withResolvers<undefined>();
  const cancel = clock.after(FIRST_ANSWER_MS, () => late.resolve(undefined));
  try {
    return await Promise.race([result, late.promise]);
  } finally {
    cancel();
  }
}

/** Of several that came together: the first names it. */
function withPlace(
  { url, at }: PolicyUrlConfig,
  problems: readonly (CountersignError | undefined)[],
): CountersignError {
  const [first, ...more] = problems.filter((problem) => problem !== undefined);
  if (first === undefined) throw new TypeError("a source without policies that did not fail");
  const message = [`${url}: ${first.message}`, ...more.map((problem) => problem.message)].join("; ");
  return new CountersignError(first.code, message, { at, fix: first.fix, cause: more[0] ?? first });
}
