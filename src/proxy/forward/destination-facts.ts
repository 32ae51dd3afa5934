import type { CallFacts, ConnectionFacts } from "../../core/call-facts.ts";
import { destinationText } from "../../core/egress-target.ts";
import type { Fields } from "../http1/http1-events.ts";
import type { Destination } from "./destination.ts";

/** The principals of which the server must prove one, as policies write them; undefined outside the mesh. */
export function principalsOf({ mesh }: Destination): readonly string[] | undefined {
  return mesh?.identity.map(({ pattern }) => pattern.slice("spiffe://".length));
}

/** What policy sees of a tunnel, however it was asked for: the request CONNECT host:port. `address`: what will be dialled, "" as long as
 *  that is not known. `sni`: of the TLS inside, "" as long as it is not known. */
export function tunnelFacts(
  connection: ConnectionFacts,
  destination: Destination,
  { raw, lower }: Fields,
  address: string,
  sni: string,
): CallFacts {
  const principals = principalsOf(destination);
  return {
    connection: {
      ...connection,
      destinationIp: address,
      addressPending: address === "",
      destinationPort: destination.port,
      sni,
    },
    request: { method: "CONNECT", authority: destinationText(destination), path: "", headers: raw, lowerNames: lower },
    ...(principals === undefined ? {} : { destinationPrincipals: principals }),
  };
}
