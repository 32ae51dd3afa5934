import { networkInterfaces } from "node:os";
import { jwtRulesFor } from "../authz/authentication.ts";
import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import { createDocumentFetch } from "../certs/jwt/fetch-document.ts";
import type { JwksState } from "../certs/jwt/jwks-source.ts";
import type { Address, ExtensionProviderConfig, SidecarConfig } from "../config/sidecar-config.ts";
import type { Clock } from "../core/clock.ts";
import { createDialRules, type DialRules } from "../core/dial-rules.ts";
import { parseCidr, parseIpAddress } from "../core/ip-address.ts";
import { inTurns } from "./ext-authz/check-turns.ts";
import { createGrpcProvider } from "./ext-authz/grpc-provider.ts";
import { createHttpProvider } from "./ext-authz/http-provider.ts";
import type { AuthorizationProvider } from "./ext-authz/provider.ts";
import { createKeySources } from "./request-auth/token-rules.ts";
import type { PolicyInForce, ProxyLog } from "./runtime.ts";

/** What is asked outside before policy decides: issuers' keys and external authorization providers. Lives as long as the sidecar; what two
 *  configurations share is kept over a change. */
export interface CallGuards {
  /** Makes ready what a policy and its configuration ask for, and lets go of the rest. `listeners`: ours, which nobody may have us dial. */
  adopt(
    config: SidecarConfig,
    policy: CompiledPolicy,
    listeners: () => readonly Address[],
  ): Pick<PolicyInForce, "tokens" | "providers">;
  readonly keySources: readonly JwksState[];
  readonly providers: readonly ProviderChecks[];
  close(): void;
}

/** What a provider was asked since the start. */
export interface ProviderChecks {
  readonly name: string;
  allowed: number;
  denied: number;
  /** Without a valid answer in time. */
  failed: number;
}

export function createCallGuards(clock: Clock, log: ProxyLog): CallGuards {
  const keys = createKeySources({
    clock,
    random: Math.random,
    onLoaded: ({ from, keys: count, skipped }) => log.info({ event: "jwks.loaded", from, keys: count, skipped }),
    onFailed: ({ code, message }, { from, keys: count, failures }) =>
      log.warn({ event: "jwks.failed", from, code, err: message, keys: count, failures }),
  });
  /** By the configuration that made them. */
  let providers = new Map<string, AuthorizationProvider>();
  const checks = new Map<string, ProviderChecks>();
  const checksOf = (name: string): ProviderChecks => {
    const known = checks.get(name) ?? { name, allowed: 0, denied: 0, failed: 0 };
    checks.set(name, known);
    return known;
  };
  return {
    adopt(config, policy, listeners) {
      const strict = config.authorization.mode === "strict";
      const { addresses, ca } = config.requestAuthentication;
      const fetch = createDocumentFetch({
        rules: strict ? () => fetchRules(addresses, listeners()) : undefined,
        allowHttp: !strict,
        ca,
      });
      const used = new Map<string, AuthorizationProvider>();
      for (const one of config.extensionProviders) {
        const key = JSON.stringify({ ...one, at: undefined, strict });
        used.set(key, providers.get(key) ?? counted(createProvider(one, strict, clock), checksOf(one.name)));
      }
      for (const [key, provider] of providers) if (!used.has(key)) provider.close();
      providers = used;
      return {
        tokens: keys.adopt(jwtRulesFor(policy), { strict, addresses, ca, fetch }),
        providers: new Map([...used.values()].map((provider) => [provider.name, provider])),
      };
    },
    get keySources() {
      return keys.states;
    },
    get providers() {
      return [...providers.values()].map(({ name }) => checksOf(name));
    },
    close() {
      keys.close();
      for (const provider of providers.values()) provider.close();
    },
  };
}

function createProvider(config: ExtensionProviderConfig, strict: boolean, clock: Clock): AuthorizationProvider {
  const provider = config.kind === "http" ? createHttpProvider(config) : createGrpcProvider(config, strict);
  return inTurns(provider, config.timeoutMs, clock);
}

function counted(provider: AuthorizationProvider, checks: ProviderChecks): AuthorizationProvider {
  return {
    ...provider,
    async check(question, signal) {
      const answer = await provider.check(question, signal);
      if (answer.kind === "allow") checks.allowed++;
      else if (answer.kind === "deny") checks.denied++;
      else if (!signal.aborted) checks.failed++;
      return answer;
    },
  };
}

/** The rules of the egress proxy, as of now: a policy's author may not have us ask what only we can reach. */
function fetchRules(addresses: readonly string[], listeners: readonly Address[]): DialRules {
  return createDialRules({
    ownAddresses: Object.values(networkInterfaces())
      .flatMap((each) => each ?? [])
      .flatMap(({ address }) => parseIpAddress(address) ?? []),
    ownListeners: listeners
      .filter((one) => one.kind === "tcp")
      .map(({ host, port }) => ({ address: parseIpAddress(host), port })),
    allowed: addresses.flatMap((text) => parseCidr(text) ?? []),
  });
}
