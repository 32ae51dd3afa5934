import type { JwtRuleModel } from "../../authz/authentication-model.ts";
import { type JwtKeySet, parseJwkSet } from "../../certs/jwt/jwk-set.ts";
import { createJwksSource, type FetchDocument, type JwksState } from "../../certs/jwt/jwks-source.ts";
import type { Clock } from "../../core/clock.ts";
import { asCountersignError, type CountersignError } from "../../core/errors.ts";
import { createVerifiedTokens, type VerifiedTokens } from "./verified-tokens.ts";

/** Where a rule's keys come from: a document's own text, or a source that fetches them. */
export interface RuleKeys {
  readonly current: JwtKeySet | undefined;
  readonly pending: Promise<void> | undefined;
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

/** The sources of keys that the rules in force use. Those that two sets of rules share are kept over a change. */
export interface KeySources {
  /** Makes the rules of a new policy ready and lets go of sources that none of them uses; undefined: there are no rules. */
  adopt(models: readonly JwtRuleModel[], options: AdoptOptions): TokenRules | undefined;
  readonly states: readonly JwksState[];
  close(): void;
}

export interface AdoptOptions {
  readonly strict: boolean;
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
  let fetch: FetchDocument | undefined;
  // a source outlives configurations: it asks for the fetcher each time
  const fetchNow: FetchDocument = (url, signal) => {
    if (fetch === undefined) throw new TypeError("fetched before anything was adopted");
    return fetch(url, signal);
  };
  return {
    adopt(models, adopted) {
      fetch = adopted.fetch;
      const used = new Map<string, Source>();
      const rules = models.map((model): TokenRule => {
        const verified = createVerifiedTokens();
        if (model.jwks !== undefined) return { model, verified, keys: inlineKeys(model.jwks, model.issuer, options) };
        const { jwksUri: uri, issuer, timeoutMs } = model;
        const location = uri === undefined ? ({ kind: "issuer", issuer } as const) : ({ kind: "uri", uri } as const);
        const key = JSON.stringify([location, timeoutMs]);
        const source =
          used.get(key) ?? sources.get(key) ?? createJwksSource({ ...options, location, timeoutMs, fetch: fetchNow });
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
  return { current, pending: undefined, missing: () => Promise.resolve() };
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
