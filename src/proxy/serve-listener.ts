import type {
  Address,
  InboundConfig,
  OutboundConfig,
  SidecarConfig,
  UpstreamConfig,
} from "../config/sidecar-config.ts";
import { assembleForward, type EgressSurroundings } from "./forward/open-forward.ts";
import { InboundConnection } from "./inbound-connection.ts";
import type { InboundListenerParts } from "./inbound-serving.ts";
import type { MakeConnection } from "./listener.ts";
import type { ListenerConfig } from "./listener-configs.ts";
import { OutboundConnection } from "./outbound-connection.ts";
import { currentSvid, type Runtime } from "./runtime.ts";
import { adoptPlainSocket } from "./socket-reads.ts";
import { TUNNEL_ALPN } from "./tunnel-names.ts";
import type { OpenInbounds } from "./tunnelled-connection.ts";
import { addressText } from "./upstream/dial.ts";
import { HttpPool } from "./upstream/http-pool.ts";
import type { NameTtl } from "./upstream/name-ttl.ts";
import type { PlaintextVersion } from "./upstream/pool-options.ts";
import type { ResolveName } from "./upstream/system-resolve.ts";
import { Upstream, type UpstreamEvents, type UpstreamOptions, type UpstreamTuning } from "./upstream/upstream.ts";

/** A listener as it is served. */
export interface Served {
  readonly accept: MakeConnection;
  readonly pool: Pick<Upstream, "size" | "status" | "onIdentity" | "end" | "expire" | "close">;
  /** For records of connections that are not served: where they would have led; "" where only the caller could say. */
  readonly target: string;
  /** Of an inbound: as tunnels reach it. */
  readonly inbound?: InboundListenerParts;
  /** Takes limits and time limits of a new configuration over, for what is opened from now on. */
  readonly retune: (config: SidecarConfig) => void;
}

/** What listeners need of the process besides its runtime. */
export interface ServeSurroundings extends EgressSurroundings {
  readonly resolve: ResolveName;
  readonly ttlOf: NameTtl;
}

const HTTP_ALPN = [TUNNEL_ALPN, "h2", "http/1.1"] as const;
const TCP_ALPN = [TUNNEL_ALPN] as const;

/** What the connections of a listener become, and the upstream connections that they share. */
export function serveListener(
  runtime: Runtime,
  inbounds: OpenInbounds,
  surroundings: ServeSurroundings,
  config: SidecarConfig,
  direction: "inbound" | "outbound",
  one: ListenerConfig,
): Served {
  const tuningBy = (by: SidecarConfig): UpstreamTuning => tuningOf(by, one.upstream);
  const tuning = tuningBy(config);
  const common = {
    identity: () => currentSvid(runtime, one.svidHint),
    deadlines: runtime.deadlines,
    verifyPeer: runtime.verifyPeer,
  };
  if ("forward" in one) {
    const { onEjected } = eventsOf(runtime, direction, one.name);
    const { accept, pools } = assembleForward(one, surroundings, runtime.deadlines, onEjected, tuning, (to, host) => {
      const mesh = host === undefined ? undefined : { expected: host.identity, alpn: HTTP_ALPN };
      return new HttpPool({ ...common, ...to, source: undefined, mesh, plaintext: "asked" });
    });
    const retune = (by: SidecarConfig): void => pools.retune(tuningBy(by));
    return { accept, pool: pools, target: "", retune };
  }
  const events = eventsOf(runtime, direction, one.name);
  const open = (to: Pick<UpstreamOptions, "endpoints" | "source" | "mesh" | "plaintext">): Upstream =>
    new Upstream({ ...common, ...surroundings, ...tuning, ...to, events });
  if ("app" in one) {
    const tunnels = inbounds.gateOf(one.name, one.tunnels);
    const plaintext = appVersion(one);
    const pool = open({ endpoints: [one.app], source: one.appSource, mesh: undefined, plaintext });
    const parts: InboundListenerParts = { config: one, pool, tunnels };
    const accept: MakeConnection = (by, socket, onClosed) => new InboundConnection(by, parts, socket, onClosed);
    const retune = (by: SidecarConfig): void => pool.retune(tuningBy(by));
    return { accept, pool, target: addressText(one.app), inbound: parts, retune };
  }
  const endpoints = endpointsOf(one);
  const mesh = { expected: one.identity, alpn: one.protocol === "tcp" ? TCP_ALPN : HTTP_ALPN };
  const pool = open({ endpoints, source: undefined, mesh, plaintext: "asked" });
  const parts = { config: one, endpoints, pool };
  const accept: MakeConnection = (by, socket, onClosed) =>
    new OutboundConnection(by, parts, adoptPlainSocket(socket), onClosed);
  const retune = (by: SidecarConfig): void => pool.retune(tuningBy(by));
  return { accept, pool, target: addressText(endpoints[0]), retune };
}

function eventsOf(runtime: Runtime, direction: "inbound" | "outbound", listener: string): UpstreamEvents {
  return {
    onEjected(address, forMs, failures) {
      const fields = { event: "upstream.ejected", name: listener, direction, address, forMs, failures };
      runtime.log.warn(fields, `${address} failed too often and gets no calls for ${forMs / 1000} s`);
    },
    onResolve(host, problem) {
      const fields = { event: "upstream.resolve", name: listener, direction, host };
      if (problem === undefined) runtime.log.info(fields, `${host} is resolved again`);
      else runtime.log.warn({ ...fields, code: problem.code }, problem.message);
    },
  };
}

/** What a listener's upstream may take, by its own configuration, else by what holds for all. */
function tuningOf({ limits, timeouts }: SidecarConfig, own: UpstreamConfig): UpstreamTuning {
  return {
    limits,
    handshakeTimeoutMs: timeouts.handshake,
    maxConnections: own.maxConnections ?? limits.connections,
    maxPending: own.maxPending,
    maxRequests: own.maxRequests,
    connectTimeoutMs: own.connectTimeout ?? timeouts.connect,
    idleMs: own.idleTimeout ?? timeouts.idle * 0.9,
    requestTimeoutMs: own.requestTimeout,
    streamTimeoutMs: own.streamTimeout,
  };
}

/** What the app gets: one version always, or what its caller speaks. */
function appVersion({ protocol }: InboundConfig): PlaintextVersion {
  return protocol === "http1" || protocol === "http2" ? protocol : "asked";
}

/** Never none: the configuration is checked. */
export function endpointsOf(config: OutboundConfig): [Address, ...Address[]] {
  const [first, ...rest] = config.to.map(({ host, port }): Address => ({ kind: "tcp", host, port }));
  if (first === undefined) throw new TypeError("an outbound listener without endpoints");
  return [first, ...rest];
}
