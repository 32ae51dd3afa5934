import type { Socket } from "node:net";
import { asCountersignError, CountersignError } from "../core/errors.ts";
import { peerCredentials } from "../sys/peer-credentials.ts";
import { socketFd } from "../sys/socket-fd.ts";
import { tcpPeerUid } from "../sys/tcp-peer-uid.ts";

export interface LocalCaller {
  readonly uid: number | undefined;
  /** Known on Unix sockets only. */
  readonly pid: number | undefined;
}

export const UNKNOWN_CALLER: LocalCaller = { uid: undefined, pid: undefined };

/** Who, on this machine, is at the other end of an accepted socket, by the kernel's word. Unknown where it has none.
 *  Throws CountersignError where the kernel can't be asked. */
function localCaller(socket: Socket, unix: boolean): LocalCaller {
  if (unix) {
    const fd = socketFd(socket);
    if (fd === undefined) return UNKNOWN_CALLER;
    const { uid, pid } = peerCredentials(fd);
    return { uid, pid };
  }
  const { localAddress, localPort, remoteAddress, remotePort } = socket;
  if (
    localAddress === undefined ||
    localPort === undefined ||
    remoteAddress === undefined ||
    remotePort === undefined
  ) {
    return UNKNOWN_CALLER;
  }
  const uid = tcpPeerUid({ address: localAddress, port: localPort }, { address: remoteAddress, port: remotePort });
  return { uid, pid: undefined };
}

/** Asks who calls an outbound listener, for its record, and whether `allowUids` (undefined: anybody) lets them. Whom the kernel cannot
 *  name is let in only where anybody is. */
export function attestCaller(
  socket: Socket,
  unix: boolean,
  allowUids: readonly number[] | undefined,
): { readonly caller: LocalCaller; readonly refused: CountersignError | undefined } {
  let caller = UNKNOWN_CALLER;
  try {
    caller = localCaller(socket, unix);
  } catch (error) {
    if (allowUids === undefined) return { caller, refused: undefined };
    const refused = asCountersignError(error, "E_CALLER_UID", "the kernel does not say which user calls");
    return { caller, refused };
  }
  const { uid } = caller;
  if (allowUids === undefined || (uid !== undefined && allowUids.includes(uid))) return { caller, refused: undefined };
  const why = uid === undefined ? "the caller's uid is unknown" : `uid ${uid} is not in allow.uids`;
  return { caller, refused: new CountersignError("E_CALLER_UID", why) };
}
