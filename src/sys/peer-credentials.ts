import { CountersignError } from "../core/errors.ts";
import { libc } from "./libc.ts";

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const UCRED_BYTES = 12;
const UNMAPPED_UID = 0xffffffff;

/** Who connected a Unix socket, as the kernel noted at connect(2) (unix(7), SO_PEERCRED). */
export interface PeerCredentials {
  /** 0 when the peer lives in a pid namespace that we cannot see. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Reads the credentials of the peer of an accepted Unix socket. The uid and gid are the effective ones at connect(2): a
 *  process cannot choose them, but it may have executed another program since.
 *  Throws CountersignError E_PEER_CREDENTIALS (not a Unix socket, no peer) and E_SYS_UNAVAILABLE (no Linux, no node:ffi). */
export function peerCredentials(fd: number): PeerCredentials {
  const value = Buffer.alloc(UCRED_BYTES);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(UCRED_BYTES);
  const result = libc().getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length);
  const peer = { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) };
  // For a socket without a peer process (TCP, unconnected) Linux answers pid 0 and uid -1 instead of an error.
  if (result !== 0 || length.readUInt32LE() !== UCRED_BYTES || peer.uid === UNMAPPED_UID)
    throw new CountersignError("E_PEER_CREDENTIALS", "the kernel names no peer for this socket");
  return peer;
}
