import { createHash } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { CountersignError, type CountersignErrors } from "../core/errors.ts";
import type { KeptPolicies } from "./kept-policies.ts";
import type { PolicyOffer, PolicySourceState } from "./policy-set-source.ts";
import type { PolicyUrlConfig } from "./sidecar-config.ts";

/** A confirmation is written down once this share of maxAge is over: what is kept is hardly older than it says. */
const CONFIRM_SHARE = 0.1;
/** A confirmation further ahead of the clock than this says nothing about age. */
const MAX_AHEAD_MS = 5 * 60_000;
const DIGEST_LENGTH = 16;

/** A set of a URL, with how and when it came. */
export interface UrlOffer extends PolicyOffer {
  readonly copy: KeptPolicies;
  readonly digest: string;
}

export type LookResult = { readonly copy: KeptPolicies } | { readonly error: CountersignError };

/** What is known of a URL: it outlives the configurations that name it. */
export interface UrlMemory {
  readonly newest: UrlOffer;
  readonly lastGood: UrlOffer | undefined;
  /** Why the newest is not in force. */
  readonly refused: CountersignErrors | undefined;
  /** Why the newest look found nothing. */
  problem: CountersignError | undefined;
  keepProblem: CountersignError | undefined;
  /** As it is on disk; undefined: there is nothing, or nothing that can be used. */
  written: KeptPolicies | undefined;
  /** Writes, one after the other. */
  writing: Promise<void>;
  /** Failures that followed one another. */
  failures: number;
  /** When to look next, by the monotonic clock; undefined: not planned yet. */
  dueMs: number | undefined;
  /** The look with which it was opened, while the kept copy is used for want of its answer. */
  first: Promise<LookResult> | undefined;
  /** Takes what a look has brought. Returns whether that is another set. */
  take(result: LookResult): boolean;
}

/** `copy`: what is the newest; `kept`: what was in force when it was kept, if it may be used. */
export function createUrlMemory(copy: KeptPolicies, kept: KeptPolicies | undefined): UrlMemory {
  let refused: CountersignErrors | undefined;
  const offer = (from: KeptPolicies, alike: UrlOffer | undefined): UrlOffer => {
    const { text } = from;
    const own: UrlOffer = {
      copy: from,
      files: alike?.files ?? [{ file: from.url, text }],
      digest: alike?.digest ?? createHash("sha256").update(text).digest("hex").slice(0, DIGEST_LENGTH),
      accept() {
        if (newest.copy.text === text) {
          lastGood = newest;
          refused = undefined;
        } else if (lastGood?.copy.text !== text) lastGood = own;
      },
      refuse(errors) {
        if (newest.copy.text === text) refused = errors;
      },
    };
    return own;
  };
  let newest = offer(copy, undefined);
  let lastGood = kept === undefined || kept.text === copy.text ? undefined : offer(kept, undefined);
  if (kept?.text === copy.text) lastGood = newest;
  return {
    get newest() {
      return newest;
    },
    get lastGood() {
      return lastGood;
    },
    get refused() {
      return refused;
    },
    problem: undefined,
    keepProblem: undefined,
    written: undefined,
    writing: Promise.resolve(),
    failures: 0,
    dueMs: undefined,
    first: undefined,
    take(result) {
      if ("error" in result) {
        this.problem = result.error;
        this.failures++;
        return false;
      }
      this.problem = undefined;
      this.failures = 0;
      const { text } = result.copy;
      const before = newest;
      newest = offer(
        result.copy,
        [before, lastGood].find((one) => one?.copy.text === text),
      );
      if (lastGood?.copy.text === text) lastGood = newest;
      if (before.copy.text === text) return false;
      refused = undefined;
      return true;
    },
  };
}

/** How it stands, for status and metrics. */
export function urlState(memory: UrlMemory, config: PolicyUrlConfig, clock: Clock): PolicySourceState {
  const { newest, refused } = memory;
  const inForce = memory.lastGood ?? newest;
  const { confirmedAtMs, signature } = inForce.copy;
  // what is about to be tried is not refused yet
  const counts = refused === undefined ? newest : inForce;
  const other = { version: newest.copy.signature?.version, digest: newest.digest, refused };
  return {
    name: config.url,
    confirmedAtMs,
    version: signature?.version,
    digest: inForce.digest,
    newest: newest.copy.text === inForce.copy.text ? undefined : other,
    problem: staleness(counts.copy.confirmedAtMs, config, clock) ?? memory.problem,
    keepProblem: memory.keepProblem,
  };
}

/** Why a confirmation no longer counts; undefined: it does. */
export function staleness(
  confirmedAtMs: number,
  { maxAgeMs }: PolicyUrlConfig,
  clock: Clock,
): CountersignError | undefined {
  const ageMs = clock.nowMs() - confirmedAtMs;
  if (ageMs < -MAX_AHEAD_MS)
    return new CountersignError(
      "E_POLICY_STALE",
      "by the clock, the server confirmed the policies in the future: how old they are is not known",
    );
  if (ageMs <= maxAgeMs) return undefined;
  const minutes = Math.floor(ageMs / 60_000);
  return new CountersignError("E_POLICY_STALE", `the server last confirmed the policies ${minutes} minutes ago`);
}

/** Whether what is on disk lacks something: the text, a version that has risen, or a confirmation by which it would be too old too soon, or too
 *  late. */
export function isToBeWritten(
  { text, signature, confirmedAtMs }: KeptPolicies,
  written: KeptPolicies | undefined,
  { maxAgeMs }: PolicyUrlConfig,
): boolean {
  if (written?.text !== text || written.signature?.version !== signature?.version) return true;
  const sinceMs = confirmedAtMs - written.confirmedAtMs;
  return sinceMs > maxAgeMs * CONFIRM_SHARE || sinceMs < -MAX_AHEAD_MS;
}
