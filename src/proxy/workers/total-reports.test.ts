import { expect, it } from "vitest";
import { createTelemetry } from "../../telemetry/telemetry.ts";
import { snapshotTelemetry } from "../../telemetry/telemetry-totals.ts";
import type { ListenerStatus } from "../listener-status.ts";
import type { EndpointStatus } from "../upstream/upstream-status.ts";
import type { WorkerReport } from "./messages.ts";
import { totalKeySources, totalListeners, totalProviders, totalSvidsInUse } from "./total-reports.ts";

function report(over: Partial<WorkerReport>): WorkerReport {
  return {
    listeners: [],
    calls: 0,
    overloaded: false,
    policyVersion: "v",
    identity: "serving",
    keySources: [],
    providers: [],
    telemetry: snapshotTelemetry(createTelemetry()),
    svids: [],
    lag: { p50: 0, p99: 0, max: 0 },
    ...over,
  };
}
function listener(connections: number, endpoint: Partial<EndpointStatus>, problems: string[] = []): ListenerStatus {
  const known = {
    address: "10.0.0.1:80",
    state: "healthy",
    connections: 1,
    active: 2,
    failures: 3,
    ejections: 4,
  } as const;
  return {
    name: "out",
    direction: "outbound",
    address: "127.0.0.1:1",
    target: "t",
    protocol: "http",
    connections,
    upstreamConnections: 1,
    upstream: {
      endpoints: [{ ...known, ...endpoint }],
      connections: 1,
      active: 2,
      pending: 3,
      limited: 4,
      problems: problems.map((message) => ({ code: "E_UPSTREAM_RESOLVE", message })),
    },
  };
}

it("adds up listeners by name; of an endpoint the worst verdict is shown", () => {
  const reports = [
    report({ listeners: [listener(3, { latencyMs: 5 }, ["a"])] }),
    report({ listeners: [listener(4, { state: "ejected", ejectedForMs: 900 }, ["a"])] }),
  ];
  expect(totalListeners(reports)).toEqual([
    {
      ...listener(7, {}),
      upstreamConnections: 2,
      upstream: {
        endpoints: [
          {
            address: "10.0.0.1:80",
            state: "ejected",
            ejectedForMs: 900,
            latencyMs: 5,
            connections: 2,
            active: 4,
            failures: 6,
            ejections: 8,
          },
        ],
        connections: 2,
        active: 4,
        pending: 6,
        limited: 8,
        problems: [{ code: "E_UPSTREAM_RESOLVE", message: "a" }],
      },
    },
  ]);
});

it("adds up what workers know of an egress proxy's destinations, and shows a bounded number", () => {
  const of = (worker: number): ListenerStatus => {
    const one = listener(1, {});
    const [endpoint] = one.upstream.endpoints;
    const endpoints =
      endpoint && Array.from({ length: 40 }, (_, at) => ({ ...endpoint, address: `10.0.${worker}.${at}:80` }));
    const destinations = { known: 40, ejected: 1, failures: 2, ejections: 3 };
    return { ...one, upstream: { ...one.upstream, endpoints: endpoints ?? [], destinations } };
  };
  const [total] = totalListeners([report({ listeners: [of(1)] }), report({ listeners: [of(2)] })]);
  expect(total?.upstream.destinations).toEqual({ known: 80, ejected: 2, failures: 4, ejections: 6 });
  expect(total?.upstream.endpoints).toHaveLength(50);
});

it("shows the oldest keys of an issuer, and none as fetched before every worker has them", () => {
  const source = {
    from: "https://idp",
    keys: 2,
    skipped: 0,
    loadedAtMs: 50,
    fetches: 1,
    failures: 0,
    problem: undefined,
  };
  const failed = { code: "E_JWKS_FETCH", message: "no", fix: undefined } as const;
  const later = { ...source, loadedAtMs: 70, failures: 2 };
  expect(totalKeySources([report({ keySources: [later] }), report({ keySources: [source] })])).toEqual([
    { ...source, fetches: 2, failures: 2 },
  ]);
  const [waiting] = totalKeySources([
    report({ keySources: [source] }),
    report({ keySources: [{ ...source, keys: 0, loadedAtMs: undefined, problem: failed }] }),
  ]);
  expect(waiting).toMatchObject({ keys: 0, loadedAtMs: undefined, problem: { code: "E_JWKS_FETCH" } });
});

it("adds up what providers answered, and the connections by SVID", () => {
  const reports = [
    report({
      providers: [{ name: "opa", allowed: 1, denied: 2, failed: 3 }],
      svids: [{ fingerprint: "a", notBeforeMs: 1, connections: 2 }],
    }),
    report({
      providers: [{ name: "opa", allowed: 10, denied: 20, failed: 30 }],
      svids: [
        { fingerprint: "a", notBeforeMs: 1, connections: 3 },
        { fingerprint: "b", notBeforeMs: 2, connections: 1 },
      ],
    }),
  ];
  expect(totalProviders(reports)).toEqual([{ name: "opa", allowed: 11, denied: 22, failed: 33 }]);
  expect(Array.from(totalSvidsInUse(reports), ([{ fingerprint }, count]) => [fingerprint, count])).toEqual([
    ["a", 5],
    ["b", 1],
  ]);
});
