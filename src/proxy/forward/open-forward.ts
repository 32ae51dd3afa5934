import type { ForwardConfig } from "../../config/sidecar-config.ts";
import type { Deadlines } from "../deadlines.ts";
import type { MakeConnection } from "../listener.ts";
import { monotonicMs } from "../monotonic.ts";
import { adoptPlainSocket } from "../socket-reads.ts";
import { CallLimits } from "../upstream/call-limits.ts";
import type { CheckedLookup } from "../upstream/checked-lookup.ts";
import type { UpstreamTuning } from "../upstream/upstream.ts";
import { DestinationAddresses, type OwnPlaces } from "./destination-addresses.ts";
import { DestinationLoads, type OnEjected } from "./destination-loads.ts";
import { ForwardConnection } from "./forward-connection.ts";
import type { ForwardListenerParts } from "./forward-listener-parts.ts";
import { ForwardPools, type MakeForwardPool } from "./forward-pools.ts";

/** What egress listeners know of the world around them. */
export interface EgressSurroundings {
  readonly lookup: CheckedLookup;
  readonly own: OwnPlaces;
}

/** Puts an egress listener together: what it is listened with, and the pools that hang on it. */
export function assembleForward(
  config: ForwardConfig,
  { lookup, own }: EgressSurroundings,
  deadlines: Deadlines,
  onEjected: OnEjected,
  tuning: UpstreamTuning,
  make: MakeForwardPool,
): { readonly accept: MakeConnection; readonly pools: ForwardPools } {
  const addresses = new DestinationAddresses(lookup, config.forward, own, monotonicMs);
  const limits = new CallLimits(tuning);
  const loads = new DestinationLoads(limits.counts, onEjected);
  const pools = new ForwardPools({ addresses, loads, limits, tuning, deadlines, make });
  const parts: ForwardListenerParts = { config, pools };
  return {
    pools,
    accept: (runtime, socket, onClosed) => new ForwardConnection(runtime, parts, adoptPlainSocket(socket), onClosed),
  };
}
