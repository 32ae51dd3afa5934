import type { ConnectionFacts } from "../../core/call-facts.ts";
import type { ConnectionContext } from "../../core/call-outcome.ts";
import type { CountersignError } from "../../core/errors.ts";
import type { Fields } from "../http1/http1-events.ts";
import type { Refusal } from "../refusal.ts";
import type { Runtime } from "../runtime.ts";
import type { Transport } from "../transport.ts";
import type { CheckedAddresses } from "../upstream/checked-lookup.ts";
import type { Destination } from "./destination.ts";
import type { ForwardListenerParts } from "./forward-listener-parts.ts";
import type { TunnelAuthority } from "./tunnel-authority.ts";

/** How the caller hears what became of its tunnel, in its own protocol. */
export interface TunnelAnswer {
  /** The tunnel is open: what is read and written from now on is its content. */
  accept(id: string): void;
  /** It is not, for this reason. The connection ends with it. `own`: what a provider wants the caller to get. */
  refuse(error: CountersignError, id: string, own?: Refusal): void;
}

export interface TunnelParts {
  readonly runtime: Runtime;
  readonly listener: ForwardListenerParts;
  readonly context: ConnectionContext;
  readonly facts: ConnectionFacts;
  /** Port of the proxy's listener; undefined: a Unix socket. */
  readonly listenPort: () => number | undefined;
  /** Of the CONNECT request that asked for it, as policy sees them. */
  readonly fields: Fields;
  /** undefined: SOCKS5. */
  readonly method: string | undefined;
  readonly destination: Destination;
  readonly transport: Transport;
  readonly answer: TunnelAnswer;
  /** The tunnel carries HTTP, beginning with these bytes: each of its requests is a call of its own. */
  readonly onHttp: (version: "http1" | "http2", first: Uint8Array) => void;
  /** The tunnel carries other bytes to a destination in the mesh, where they go inside mTLS. */
  readonly onMeshBytes: (addresses: CheckedAddresses, authority: TunnelAuthority, first: Uint8Array) => void;
}
