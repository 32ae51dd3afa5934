import type { CallFacts } from "../../core/call-facts.ts";
import type { ConnectionContext } from "../../core/call-outcome.ts";
import type { Runtime } from "../runtime.ts";
import type { TcpRelayParts } from "../tcp-relay.ts";
import type { CheckedAddresses } from "../upstream/checked-lookup.ts";
import { decideForward } from "./decide-forward.ts";
import { type Destination, destinationText } from "./destination.ts";
import type { ForwardListenerParts } from "./forward-listener-parts.ts";

/** What relays a tunnel's bytes to a destination in the mesh, inside mTLS, as through a listener that leads there: on a stream of a shared
 *  connection where its sidecar takes those, else on a connection of its own. */
export function meshRelay(
  runtime: Runtime,
  { pools }: ForwardListenerParts,
  context: ConnectionContext,
  destination: Destination,
  addresses: CheckedAddresses,
  facts: CallFacts,
): TcpRelayParts {
  if (destination.mesh === undefined) throw new TypeError("only destinations in the mesh take any bytes");
  return {
    runtime,
    context,
    facts: facts.connection,
    authority: destinationText(destination),
    decide: () => decideForward(runtime.inForce.policy, facts),
    reach: (permit, done) =>
      pools.connect(destination, addresses, permit, (reached) => {
        done(reached);
        return true;
      }),
  };
}
