import type { OpenListener } from "./listener-set.ts";
import { endpointsOf } from "./serve-listener.ts";
import { addressText } from "./upstream/dial.ts";
import type { UpstreamStatus } from "./upstream/upstream-status.ts";

/** A listener as status shows it. */
export interface ListenerStatus {
  readonly name: string;
  readonly direction: "inbound" | "outbound";
  readonly address: string;
  /** The app (inbound) or the first endpoint (outbound). */
  readonly target: string;
  readonly protocol: string;
  readonly connections: number;
  readonly upstreamConnections: number;
  readonly upstream: UpstreamStatus;
}

export function listenerStatus({ direction, config, listener, served }: OpenListener): ListenerStatus {
  return {
    name: listener.name,
    direction,
    address: addressText(listener.address),
    target:
      "forward" in config ? "what the app names" : addressText("app" in config ? config.app : endpointsOf(config)[0]),
    protocol: "forward" in config ? "egress proxy" : config.protocol,
    connections: listener.connections.size,
    upstreamConnections: served.pool.size,
    upstream: served.pool.status,
  };
}
