import type { Permit } from "../../core/decision.ts";
import { CountersignError } from "../../core/errors.ts";
import type { HttpPool } from "./http-pool.ts";
import type { ReachedTcp } from "./reached-tcp.ts";

/** One address's side of a TCP connection: a stream of a shared connection to `inbound` where the other side is a sidecar of our kind, else a
 *  connection of its own. `reached` returns false if nobody wants it any more. */
export function reachTcp(
  pool: HttpPool,
  permit: Permit,
  inbound: string,
  reached: (result: ReachedTcp | CountersignError) => boolean,
): void {
  const use = (result: ReachedTcp | CountersignError): void => {
    if (!reached(result) && !(result instanceof CountersignError)) result.transport.destroy();
  };
  pool.tunnel(permit, inbound, (tunnel) => {
    if (tunnel === undefined) pool.connect(permit, use);
    else use(tunnel);
  });
}
