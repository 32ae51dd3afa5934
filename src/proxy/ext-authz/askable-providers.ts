import type { AuthorizationProvider } from "./provider.ts";

/** Those that can be asked about calls of the listener on `port` of this machine. One that is itself reached through that listener would have each
 *  of its checks wait for another one; so it is as if it did not exist, and the calls are denied. */
export function askableProviders(
  port: number | undefined,
  providers: ReadonlyMap<string, AuthorizationProvider>,
): ReadonlyMap<string, AuthorizationProvider> {
  const isBehind = ({ service }: AuthorizationProvider): boolean =>
    service.port === port && /^(?:localhost|127\..*|::1)$/.test(service.host);
  return new Map([...providers].filter(([, provider]) => !isBehind(provider)));
}
