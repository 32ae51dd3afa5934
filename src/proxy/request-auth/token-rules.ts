import type { JwtRuleModel } from "../../authz/authentication-model.ts";
import { type JwtKeySet, parseJwkSet } from "../../certs/jwt/jwk-set.ts";
import {
  createJwksSource,
  type FetchDocument,
  type JwksLocation,
  type JwksState,
} from "../../certs/jwt/jwks-source.ts";
import type { Clock } from "../../core/clock.ts";
import { asCountersignError, type CountersignError } from "../../core/errors.ts";
import { type FetchTerms, isTightened } from "./fetch-terms.ts";
import { createVerifiedTokens, type VerifiedTokens } from "./verified-tokens.ts";

/** Where a rule's keys come from: a document's own text, or a source that fetches them. */
export interface RuleKeys {
  readonly current: JwtKeySet | undefined;
  readonly pending: Promise<void> | undefined;
  wake(): void;
  missing(): Promise<void>;
}

export interface TokenRule {
  readonly model: JwtRuleModel;
  readonly keys: RuleKeys;
  readonly verified: VerifiedTokens;
}

/** The jwtRules that apply to this workload, ready to verify. Part of the policy in force and swapped with it. */
export interface TokenRules {
  readonly rules: readonly TokenRule[];
  readonly strict: boolean;
  /** Names of headers that we alone set, lower case and with `_` as `-`: removed from every request first. */
  readonly ownHeaders: ReadonlySet<string>;
  readonly clock: Clock;
}

/** The sources of keys that the rules in force use. Those that two sets of rules share are kept over a change; where the new configuration might not
 *  have fetched their keys, these are used no longer than one fetch takes. */
export interface KeySources {
  /** Makes the rules of a new policy ready and lets go of sources that none of them uses; undefined: there are no rules. */
  adopt(models: readonly JwtRuleModel[], options: AdoptOptions): TokenRules | undefined;
  readonly states: readonly JwksState[];
  close(): void;
}

export interface AdoptOptions extends FetchTerms {
  /** Fetches by the configuration in force. */
  readonly fetch: FetchDocument;
}

export interface KeySourcesOptions {
  readonly clock: Clock;
  readonly random: () => number;
  readonly onLoaded: (state: JwksState) => void;
  readonly onFailed: (error: CountersignError, state: JwksState) => void;
}

type Source = ReturnType<typeof createJwksSource>;

export function createKeySources(options: KeySourcesOptions): KeySources {
  let sources = new Map<string, Source>();
  // a source outlives configurations: it asks for these each time
  let fetch: FetchDocument | undefined;
  let timeouts = new Map<string, number>();
  let terms: FetchTerms | undefined;
  const fetchNow: FetchDocument = (url, signal) => {
    if (fetch === undefined) throw new TypeError("fetched before anything was adopted");
    return fetch(url, signal);
  };
  return {
    adopt(models, adopted) {
      fetch = adopted.fetch;
      timeouts = timeoutsOf(models);
      const hasTightened = terms !== undefined && isTightened(terms, adopted);
      terms = adopted;
      const used = new Map<string, Source>();
      const rules = models.map((model): TokenRule => {
        const verified = createVerifiedTokens();
        if (model.jwks !== undefined) return { model, verified, keys: inlineKeys(model.jwks, model.issuer, options) };
        const location = locationOf(model);
        const key = keyOf(location);
        const kept = used.get(key) ?? sources.get(key);
        const timeoutMs = (): number => timeouts.get(key) ?? model.timeoutMs;
        const source = kept ?? createJwksSource({ ...options, location, timeoutMs, fetch: fetchNow });
        if (hasTightened && kept !== undefined && !used.has(key)) kept.refetch();
        used.set(key, source);
        return { model, verified, keys: source };
      });
      for (const [key, source] of sources) if (!used.has(key)) source.close();
      sources = used;
      if (rules.length === 0) return undefined;
      return { rules, strict: adopted.strict, ownHeaders: ownHeaders(models), clock: options.clock };
    },
    get states() {
      return [...sources.values()].map(({ state }) => state);
    },
    close() {
      for (const source of sources.values()) source.close();
      sources.clear();
    },
  };
}

function locationOf({ jwksUri: uri, issuer }: JwtRuleModel): JwksLocation {
  return uri === undefined ? { kind: "issuer", issuer } : { kind: "uri", uri };
}

function keyOf(location: JwksLocation): string {
  return JSON.stringify(location);
}

/** The longest that any rule gives to a fetch from a location. */
function timeoutsOf(models: readonly JwtRuleModel[]): Map<string, number> {
  const longest = new Map<string, number>();
  for (const model of models) {
    const key = keyOf(locationOf(model));
    longest.set(key, Math.max(model.timeoutMs, longest.get(key) ?? 0));
  }
  return longest;
}

/** Keys that stand in the document. A set without a usable key verifies nothing, and says so once. */
function inlineKeys(text: string, issuer: string, { onFailed }: KeySourcesOptions): RuleKeys {
  let current: JwtKeySet | undefined;
  try {
    current = parseJwkSet(text);
  } catch (error) {
    const problem = asCountersignError(error, "E_JWKS_CONTENT", "the key set in the jwtRule cannot be read");
    const from = `jwks of ${issuer}`;
    onFailed(problem, { from, keys: 0, skipped: 0, loadedAtMs: undefined, fetches: 0, failures: 1, problem });
  }
  return { current, pending: undefined, wake: () => undefined, missing: () => Promise.resolve() };
}

function ownHeaders(models: readonly JwtRuleModel[]): ReadonlySet<string> {
  const names = models.flatMap(({ outputPayloadToHeader, outputClaimToHeaders }) => [
    ...(outputPayloadToHeader === undefined ? [] : [outputPayloadToHeader]),
    ...outputClaimToHeaders.map(({ header }) => header),
  ]);
  return new Set(names.map(ownHeaderName));
}

/** `lower` as it is compared: apps behind CGI-like gateways cannot tell `_` from `-`. */
export function ownHeaderName(lower: string): string {
  return lower.includes("_") ? lower.replaceAll("_", "-") : lower;
}
