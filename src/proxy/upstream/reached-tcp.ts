import type { CallOutcome } from "../../core/call-outcome.ts";
import { NOBODY, SocketTransport, type Transport } from "../transport.ts";
import type { Dialed } from "./dial.ts";

/** The upstream's side of a connection. */
export interface ReachedTcp {
  readonly transport: Transport;
  readonly destination: CallOutcome["destination"];
  readonly address: string;
  /** As of Dialed; undefined where somebody else watches over the identities. */
  readonly verifyAgain: Dialed["verifyAgain"];
  /** Wall clock at which the identities that opened it are over. */
  readonly expiresMs: number;
}

/** A connection that was dialled for one call. `ownUntilMs`: expiry of our own SVID. */
export function reachedByDial(dialed: Dialed, address: string, ownUntilMs: number | undefined): ReachedTcp {
  const { peer, verifyAgain } = dialed;
  return {
    transport: new SocketTransport(dialed.socket, NOBODY),
    destination: peer === undefined ? undefined : { spiffeId: peer.spiffeId, serial: peer.serial },
    address,
    verifyAgain,
    expiresMs:
      peer === undefined || ownUntilMs === undefined
        ? Number.POSITIVE_INFINITY
        : Math.min(peer.validUntilMs, ownUntilMs),
  };
}
