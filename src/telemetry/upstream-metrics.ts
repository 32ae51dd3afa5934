/** A listener's upstream, as its own status has it. */
export interface UpstreamMetricsState {
  readonly name: string;
  readonly direction: "inbound" | "outbound";
  readonly upstream: {
    readonly connections: number;
    readonly active: number;
    readonly pending: number;
    readonly limited: number;
    readonly endpoints: readonly {
      readonly address: string;
      readonly state: string;
      readonly active: number;
      readonly latencyMs?: number;
      readonly failures: number;
      readonly ejections: number;
    }[];
    /** Of an egress proxy, whose destinations callers name. */
    readonly destinations?: { readonly ejected: number; readonly failures: number; readonly ejections: number };
  };
}

type Labels = Readonly<Record<string, string>>;
/** Makes a metric whose values are read anew at each scrape. */
type Make = (
  name: string,
  help: string,
  labelNames: string[],
  fill: (set: (labels: Labels, value: number) => void) => void,
) => void;

const LISTENER = ["direction", "listener"];
const ENDPOINT = [...LISTENER, "endpoint"];

type Upstream = UpstreamMetricsState["upstream"];
/** One address, or the sum of many. */
type Endpoint = Omit<Upstream["endpoints"][number], "state"> & { readonly ejected: number };

function endpointsOf({ endpoints, destinations, active }: Upstream): readonly Endpoint[] {
  if (destinations !== undefined) return [{ address: "*", active, ...destinations }];
  return endpoints.map((one) => ({ ...one, ejected: one.state === "ejected" ? 1 : 0 }));
}

/** The metrics of upstreams and of their addresses. There are as many series as configuration and DNS name addresses: bounded. An
 *  egress proxy, whose destinations callers name, has one of all its addresses together. */
export function addUpstreamMetrics(gauge: Make, counter: Make, state: () => readonly UpstreamMetricsState[]): void {
  const each = (read: (upstream: Upstream) => number) => (set: (labels: Labels, value: number) => void) => {
    for (const { name, direction, upstream } of state()) set({ direction, listener: name }, read(upstream));
  };
  const eachEndpoint =
    (read: (endpoint: Endpoint) => number | undefined) => (set: (labels: Labels, value: number) => void) => {
      for (const { name, direction, upstream } of state()) {
        for (const endpoint of endpointsOf(upstream)) {
          const value = read(endpoint);
          if (value !== undefined) set({ direction, listener: name, endpoint: endpoint.address }, value);
        }
      }
    };
  gauge(
    "countersign_upstream_connections",
    "Connections to the upstream, open or being made.",
    LISTENER,
    each((one) => one.connections),
  );
  gauge(
    "countersign_upstream_active",
    "Calls, tunnels and TCP connections that are open.",
    LISTENER,
    each((one) => one.active),
  );
  gauge(
    "countersign_upstream_pending",
    "Calls that wait for a connection.",
    LISTENER,
    each((one) => one.pending),
  );
  counter(
    "countersign_upstream_limited_total",
    "Calls turned away at a limit of the upstream.",
    LISTENER,
    each((one) => one.limited),
  );
  gauge(
    "countersign_upstream_endpoint_active",
    "Calls on one address, or waiting for a connection to it.",
    ENDPOINT,
    eachEndpoint((one) => one.active),
  );
  gauge(
    "countersign_upstream_endpoint_ejected",
    "1 while an address gets no calls because it failed.",
    ENDPOINT,
    eachEndpoint((one) => one.ejected),
  );
  gauge(
    "countersign_upstream_endpoint_latency_seconds",
    "Decaying average of the time to the response's head.",
    ENDPOINT,
    eachEndpoint(({ latencyMs }) => (latencyMs === undefined ? undefined : latencyMs / 1000)),
  );
  counter(
    "countersign_upstream_endpoint_failures_total",
    "Failures of an address: no connection, none kept, no answer, or a gateway's.",
    ENDPOINT,
    eachEndpoint((one) => one.failures),
  );
  counter(
    "countersign_upstream_endpoint_ejections_total",
    "How often an address was ejected.",
    ENDPOINT,
    eachEndpoint((one) => one.ejections),
  );
}
