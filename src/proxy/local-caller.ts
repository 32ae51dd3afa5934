import type { Socket } from "node:net";
import { peerCredentials } from "../sys/peer-credentials.ts";
import { socketFd } from "../sys/socket-fd.ts";
import { tcpPeerUid } from "../sys/tcp-peer-uid.ts";

export interface LocalCaller {
  readonly uid: number | undefined;
  /** Known on Unix sockets only. */
  readonly pid: number | undefined;
}

const UNKNOWN: LocalCaller = { uid: undefined, pid: undefined };

/** Who, on this machine, is at the other end of an accepted socket, by the kernel's word. Unknown where it has none.
 *  Throws CountersignError where the kernel can't be asked. */
export function localCaller(socket: Socket, unix: boolean): LocalCaller {
  if (unix) {
    const fd = socketFd(socket);
    if (fd === undefined) return UNKNOWN;
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
    return UNKNOWN;
  }
  const uid = tcpPeerUid({ address: localAddress, port: localPort }, { address: remoteAddress, port: remotePort });
  return { uid, pid: undefined };
}
