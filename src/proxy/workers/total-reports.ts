import type { JwksState } from "../../certs/jwt/jwks-source.ts";
import type { ProviderChecks } from "../call-guards.ts";
import type { ListenerStatus } from "../listener-status.ts";
import {
  type DestinationsStatus,
  type EndpointStatus,
  MOST_SHOWN,
  type UpstreamStatus,
} from "../upstream/upstream-status.ts";
import { errorFromWire } from "./identity-wire.ts";
import type { WorkerReport } from "./messages.ts";

/** The listeners of a process: what its workers' have open, together. */
export function totalListeners(reports: readonly WorkerReport[]): ListenerStatus[] {
  return groupBy(
    reports.flatMap(({ listeners }) => listeners),
    ({ direction, name }) => JSON.stringify([direction, name]),
  ).map(([first, ...others]) => ({
    ...first,
    connections: sum([first, ...others], ({ connections }) => connections),
    upstreamConnections: sum([first, ...others], ({ upstreamConnections }) => upstreamConnections),
    upstream: totalUpstream([first, ...others].map(({ upstream }) => upstream)),
  }));
}

function totalUpstream(parts: readonly UpstreamStatus[]): UpstreamStatus {
  const problems = groupBy(
    parts.flatMap((part) => part.problems),
    ({ code, message }) => JSON.stringify([code, message]),
  ).map(([first]) => first);
  const endpoints = groupBy(
    parts.flatMap((part) => part.endpoints),
    ({ address, name }) => JSON.stringify([address, name]),
  ).map(totalEndpoint);
  const destinations = parts.flatMap((part) => part.destinations ?? []);
  return {
    endpoints: destinations.length === 0 ? endpoints : endpoints.slice(0, MOST_SHOWN),
    ...(destinations.length === 0 ? {} : { destinations: totalDestinations(destinations) }),
    problems,
    connections: sum(parts, ({ connections }) => connections),
    active: sum(parts, ({ active }) => active),
    pending: sum(parts, ({ pending }) => pending),
    limited: sum(parts, ({ limited }) => limited),
  };
}

/** Each worker knows its own: an address that several know counts for each. */
function totalDestinations(all: readonly DestinationsStatus[]): DestinationsStatus {
  return {
    known: sum(all, ({ known }) => known),
    ejected: sum(all, ({ ejected }) => ejected),
    failures: sum(all, ({ failures }) => failures),
    ejections: sum(all, ({ ejections }) => ejections),
  };
}

/** Each worker judges an endpoint by its own calls: the worst verdict is shown, and the longest time. */
const worst: readonly EndpointStatus["state"][] = ["ejected", "failing", "healthy", "unused"];

function totalEndpoint([first, ...others]: readonly [EndpointStatus, ...EndpointStatus[]]): EndpointStatus {
  const all = [first, ...others];
  const ejectedForMs = Math.max(...all.map((one) => one.ejectedForMs ?? -1));
  const latencyMs = Math.max(...all.map((one) => one.latencyMs ?? -1));
  return {
    address: first.address,
    ...(first.name === undefined ? {} : { name: first.name }),
    state: worst.find((state) => all.some((one) => one.state === state)) ?? first.state,
    ...(ejectedForMs < 0 ? {} : { ejectedForMs }),
    connections: sum(all, ({ connections }) => connections),
    active: sum(all, ({ active }) => active),
    ...(latencyMs < 0 ? {} : { latencyMs }),
    failures: sum(all, ({ failures }) => failures),
    ejections: sum(all, ({ ejections }) => ejections),
  };
}

/** Each worker fetches issuers' keys for itself: the oldest of them are shown, and all fetches. */
export function totalKeySources(reports: readonly WorkerReport[]): JwksState[] {
  return groupBy(
    reports.flatMap(({ keySources }) => keySources),
    ({ from }) => from,
  ).map((all) => {
    const [first] = all;
    const loaded = all.flatMap(({ loadedAtMs }) => loadedAtMs ?? []);
    const problem = all.find((one) => one.problem !== undefined)?.problem;
    return {
      from: first.from,
      keys: Math.min(...all.map(({ keys }) => keys)),
      skipped: Math.max(...all.map(({ skipped }) => skipped)),
      loadedAtMs: loaded.length < all.length ? undefined : Math.min(...loaded),
      fetches: sum(all, ({ fetches }) => fetches),
      failures: sum(all, ({ failures }) => failures),
      problem: problem && errorFromWire(problem),
    };
  });
}

export function totalProviders(reports: readonly WorkerReport[]): ProviderChecks[] {
  return groupBy(
    reports.flatMap(({ providers }) => providers),
    ({ name }) => name,
  ).map((all) => ({
    name: all[0].name,
    allowed: sum(all, ({ allowed }) => allowed),
    denied: sum(all, ({ denied }) => denied),
    failed: sum(all, ({ failed }) => failed),
  }));
}

/** Our SVIDs that open connections rest on, each with their number. */
export function totalSvidsInUse(
  reports: readonly WorkerReport[],
): ReadonlyMap<{ readonly fingerprint: string; readonly notBeforeMs: number }, number> {
  const groups = groupBy(
    reports.flatMap(({ svids }) => svids),
    ({ fingerprint }) => fingerprint,
  );
  return new Map(groups.map((all) => [all[0], sum(all, ({ connections }) => connections)]));
}

/** In the order in which the keys first come. */
function groupBy<T>(all: readonly T[], keyOf: (one: T) => string): [T, ...T[]][] {
  const groups = new Map<string, [T, ...T[]]>();
  for (const one of all) {
    const key = keyOf(one);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  return [...groups.values()];
}

function sum<T>(all: readonly T[], of: (one: T) => number): number {
  return all.reduce((total, one) => total + of(one), 0);
}
