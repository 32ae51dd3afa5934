import type { KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Clock } from "../core/clock.ts";
import { asCountersignError, CountersignError } from "../core/errors.ts";
import { createPolicyFetch, type PolicyFetch, PolicyFetchLater } from "./fetch-policies.ts";
import { type KeptPolicies, readKeptPolicies, writeKeptPolicies } from "./kept-policies.ts";
import type { OpenedPolicySource, PolicySourceState } from "./policy-set-source.ts";
import { type PolicySignature, parsePolicySignature, readPolicyKey, verifyPolicies } from "./policy-signature.ts";
import type { PolicyUrlConfig } from "./sidecar-config.ts";

export interface UrlSourceParts {
  readonly clock: Clock;
  /** From 0 to 1, to spread the sidecars of a fleet. */
  readonly random: () => number;
  readonly fetch?: PolicyFetch;
  /** Signed versions that this process has taken, by URL: no lower one is, whatever was kept. */
  readonly taken?: ReadonlyMap<string, number>;
}

/** Longest wait after failures that follow one another. */
const MAX_BACK_OFF_MS = 10 * 60_000;
/** A confirmation is written down once this share of maxAge is over: what is kept is hardly older than it says. */
const CONFIRM_SHARE = 0.1;

/** Opens policies at a URL: what the server has, else the kept copy while that is younger than maxAge. A signature is verified in both
 *  cases. Throws CountersignError when there is neither. */
export async function openPolicyUrl(config: PolicyUrlConfig, parts: UrlSourceParts): Promise<OpenedPolicySource> {
  const { clock } = parts;
  const fetch = parts.fetch ?? createPolicyFetch(config.ca);
  const key = config.publicKey === undefined ? undefined : await readKey(config.publicKey);
  let problem: CountersignError | undefined;
  const stop = new AbortController();
  const taken = parts.taken?.get(config.url) ?? 0;

  let kept: KeptPolicies | undefined;
  try {
    kept = await readKeptPolicies(config.cache, config.url);
    if (kept !== undefined) verifyKept(kept, config, key, taken);
  } catch (error) {
    kept = undefined;
    problem = asCountersignError(error, "E_POLICY_KEPT", "the kept copy cannot be used");
  }
  let current = kept;
  try {
    current = await look(kept);
    problem = undefined;
  } catch (error) {
    const failure = asCountersignError(error, "E_POLICY_FETCH", "the fetch failed");
    if (kept === undefined) throw withPlace(failure, config);
    const ageMs = clock.nowMs() - kept.confirmedAtMs;
    if (ageMs > config.maxAgeMs) throw withPlace(stale(ageMs), config, failure);
    problem = failure;
  }
  if (current === undefined) throw new TypeError("a look without a result that did not fail");
  let latest: KeptPolicies = current;
  /** As it is on disk. */
  let written = kept;

  /** Asks the server; returns what it has, verified. */
  async function look(known: KeptPolicies | undefined): Promise<KeptPolicies> {
    const answer = await fetch(config.url, known?.etag, stop.signal);
    const confirmedAtMs = clock.nowMs();
    if (answer.kind === "unchanged") {
      if (known === undefined) throw new CountersignError("E_POLICY_FETCH", "the server says unchanged, of nothing");
      return { ...known, confirmedAtMs };
    }
    const { text, etag } = answer;
    const signature = key === undefined ? undefined : await fetchSignature(text, key, known);
    return { url: config.url, text, etag, signature, confirmedAtMs };
  }

  async function fetchSignature(
    text: string,
    publicKey: KeyObject,
    known: KeptPolicies | undefined,
  ): Promise<PolicySignature> {
    const answer = await fetch(`${config.url}.sig`, undefined, stop.signal);
    if (answer.kind === "unchanged") throw new CountersignError("E_POLICY_FETCH", "the signature's answer has no body");
    const signature = parsePolicySignature(answer.text);
    verifyPolicies(text, config.name, signature, publicKey);
    const before = Math.max(known?.signature?.version ?? 0, taken);
    const isOther = known?.signature?.version === before && text !== known.text;
    if (signature.version < before || (signature.version === before && isOther))
      throw rollback(signature.version, before);
    return signature;
  }

  const stateNow = (): PolicySourceState => {
    const ageMs = Math.max(0, clock.nowMs() - latest.confirmedAtMs);
    const found = ageMs > config.maxAgeMs ? stale(ageMs) : problem;
    return {
      name: config.url,
      confirmedAtMs: latest.confirmedAtMs,
      version: latest.signature?.version,
      problem: found,
    };
  };

  return {
    files: [{ file: config.url, text: latest.text }],
    get state() {
      return stateNow();
    },
    async keep(inForce) {
      const now = latest;
      if (!inForce.some(({ file, text }) => file === config.url && text === now.text)) return;
      const isDue = now.confirmedAtMs - (written?.confirmedAtMs ?? 0) > config.maxAgeMs * CONFIRM_SHARE;
      if (written !== undefined && written.text === now.text && !isDue) return;
      await writeKeptPolicies(config.cache, now);
      written = now;
    },
    watch({ onChange, onState, signal }) {
      let failures = 0;
      let cancel = (): void => undefined;
      let looking: Promise<void> | undefined;

      const lookNow = async (): Promise<void> => {
        let waitMs: number | undefined;
        try {
          const next = await look(latest);
          const changed = next.text !== latest.text;
          latest = next;
          problem = undefined;
          failures = 0;
          if (signal.aborted) return;
          if (changed) onChange([{ file: config.url, text: next.text }]);
        } catch (error) {
          if (signal.aborted) return;
          problem = asCountersignError(error, "E_POLICY_FETCH", "the fetch failed");
          failures++;
          if (error instanceof PolicyFetchLater) waitMs = error.waitMs;
        }
        onState();
        plan(waitMs);
      };
      const plan = (atLeastMs = 0): void => {
        const backedOff = Math.min(
          config.refreshMs * 2 ** Math.min(failures, 20),
          Math.max(config.refreshMs, MAX_BACK_OFF_MS),
        );
        const spread = 0.9 + 0.2 * parts.random();
        cancel = clock.after(Math.max(atLeastMs, backedOff * spread), () => void begin());
      };
      /** One look at a time. Never rejects. */
      const begin = (): Promise<void> => {
        cancel();
        looking ??= lookNow().finally(() => {
          looking = undefined;
        });
        return looking;
      };

      signal.addEventListener(
        "abort",
        () => {
          cancel();
          stop.abort();
        },
        { once: true },
      );
      plan();
      return { reloadNow: () => (signal.aborted ? Promise.resolve() : begin()) };
    },
  };
}

function verifyKept(kept: KeptPolicies, config: PolicyUrlConfig, key: KeyObject | undefined, taken: number): void {
  if (key === undefined) return;
  if (kept.signature === undefined)
    throw new CountersignError("E_POLICY_SIGNATURE", "the kept copy has no signature, and a key is configured");
  verifyPolicies(kept.text, config.name, kept.signature, key);
  if (kept.signature.version < taken) throw rollback(kept.signature.version, taken);
}

function rollback(version: number, before: number): CountersignError {
  return new CountersignError("E_POLICY_ROLLBACK", `version ${version} is not above ${before}, which was taken before`);
}

async function readKey(file: string): Promise<KeyObject> {
  let pem: string;
  try {
    pem = await readFile(file, "utf8");
  } catch (cause) {
    throw new CountersignError("E_POLICY_SIGNATURE", "the public key cannot be read", { at: { file }, cause });
  }
  return readPolicyKey(pem, file);
}

function stale(ageMs: number): CountersignError {
  const minutes = Math.floor(ageMs / 60_000);
  return new CountersignError("E_POLICY_STALE", `the server last confirmed the policies ${minutes} minutes ago`);
}

function withPlace(error: CountersignError, { url, at }: PolicyUrlConfig, cause?: CountersignError): CountersignError {
  const why = cause === undefined ? error.message : `${error.message}; ${cause.message}`;
  return new CountersignError(error.code, `${url}: ${why}`, { at, fix: error.fix, cause: error });
}
