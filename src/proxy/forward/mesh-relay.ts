import type { CallFacts } from "../../core/call-facts.ts";
import type { ConnectionContext } from "../../core/call-outcome.ts";
import { CountersignError } from "../../core/errors.ts";
import { currentSvid, type Runtime } from "../runtime.ts";
import type { TcpRelayParts } from "../tcp-relay.ts";
import type { CheckedAddresses } from "../upstream/checked-lookup.ts";
import { decideForward } from "./decide-forward.ts";
import { type Destination, destinationText } from "./destination.ts";
import type { ForwardListenerParts } from "./forward-listener-parts.ts";

/** What relays a tunnel's bytes to a destination in the mesh, inside mTLS, as through a listener that leads there: on a stream of a shared
 *  connection where its sidecar takes those, else on a connection of its own. */
export function meshRelay(
  runtime: Runtime,
  { config, pools, withoutAlpn }: ForwardListenerParts,
  context: ConnectionContext,
  destination: Destination,
  addresses: CheckedAddresses,
  facts: CallFacts,
): TcpRelayParts {
  const { mesh, host, port } = destination;
  if (mesh === undefined) throw new TypeError("only destinations in the mesh take any bytes");
  const [first, ...others] = addresses;
  const endpoint = (address: string) => ({ kind: "tcp", host: address, port }) as const;
  return {
    runtime,
    context,
    facts: facts.connection,
    authority: destinationText(destination),
    decide: () => decideForward(runtime.inForce.policy, facts),
    tunnel: (permit, done) => pools.tunnel(destination, first, permit, done),
    dial: () => {
      const ours = currentSvid(runtime, config.svidHint);
      if (ours instanceof CountersignError) return ours;
      return {
        endpoints: [endpoint(first), ...others.map(endpoint)],
        serverName: host,
        source: undefined,
        identity: { ...ours, expected: mesh.identity, alpn: [] },
        withoutAlpn,
      };
    },
  };
}
