import { CountersignError } from "../core/errors.ts";
import { ipBytes, unmapped } from "./ip-bytes.ts";
import { libc } from "./libc.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const NETLINK_SOCK_DIAG = 4;
const IPPROTO_TCP = 6;
const MSG_DONTWAIT = 0x40;
const NLM_F_REQUEST = 1;
const SOCK_DIAG_BY_FAMILY = 20;
const REQUEST_BYTES = 16 + 56;
const RESPONSE_BYTES = 16 + 72;
/** ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT. In any other state the kernel has no owner to name (it says uid 0 for
 *  TIME_WAIT and half-made connections) or the answer is about a listener. */
const OWNED_STATES: ReadonlySet<number> = new Set([1, 4, 5, 8]);

export interface TcpEndpoint {
  readonly address: string;
  readonly port: number;
}

let netlink: { readonly fd: number; sequence: number } | undefined;

/** The uid that owns the other end of a TCP connection within this machine (and network namespace), or undefined when
 *  that end is not here, is closed or has no owner any more: treat that as refused. `local` and `remote` are ours, as
 *  `socket.localAddress` and `socket.remoteAddress` say. About 10 µs, needs no privilege (sock_diag(7)). It does not tell the process.
 *  Throws CountersignError E_SYS_UNAVAILABLE (no Linux, no node:ffi) and E_PEER_CREDENTIALS (the kernel refuses). */
export function tcpPeerUid(local: TcpEndpoint, remote: TcpEndpoint): number | undefined {
  const source = ipBytes(remote.address);
  const destination = ipBytes(local.address);
  if (source.length !== destination.length) return undefined;
  const { send, recv } = libc();
  const channel = openNetlink();
  channel.sequence = (channel.sequence + 1) >>> 0;
  const request = encodeRequest(channel.sequence, source, remote.port, destination, local.port);
  if (send(channel.fd, request, BigInt(request.length), 0) !== BigInt(request.length))
    throw new CountersignError("E_PEER_CREDENTIALS", "the kernel does not take NETLINK_SOCK_DIAG requests");
  const response = Buffer.alloc(512);
  for (;;) {
    // The kernel has answered by the time send returns; an empty queue means that it will not.
    const length = Number(recv(channel.fd, response, BigInt(response.length), MSG_DONTWAIT));
    if (length < 16) return undefined;
    if (response.readUInt32LE(8) !== channel.sequence) continue;
    if (response.readUInt16LE(4) !== SOCK_DIAG_BY_FAMILY || length < RESPONSE_BYTES) return undefined;
    return ownerIn(response, source, remote.port, destination, local.port);
  }
}

function openNetlink(): { readonly fd: number; sequence: number } {
  if (netlink === undefined) {
    const fd = libc().socket(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd < 0) throw new CountersignError("E_PEER_CREDENTIALS", "the kernel has no NETLINK_SOCK_DIAG");
    netlink = { fd, sequence: 0 };
  }
  return netlink;
}

/** struct nlmsghdr + struct inet_diag_req_v2, numbers in host order but ports and addresses in network order. */
function encodeRequest(
  sequence: number,
  source: Uint8Array,
  sourcePort: number,
  destination: Uint8Array,
  destinationPort: number,
): Buffer {
  const request = Buffer.alloc(REQUEST_BYTES);
  request.writeUInt32LE(REQUEST_BYTES, 0);
  request.writeUInt16LE(SOCK_DIAG_BY_FAMILY, 4);
  request.writeUInt16LE(NLM_F_REQUEST, 6);
  request.writeUInt32LE(sequence, 8);
  request[16] = source.length === 4 ? AF_INET : AF_INET6;
  request[17] = IPPROTO_TCP;
  request.writeUInt32LE(0xffffffff, 20); // all states: filtered below
  request.writeUInt16BE(sourcePort, 24);
  request.writeUInt16BE(destinationPort, 26);
  request.set(source, 28);
  request.set(destination, 44);
  request.writeUInt32LE(0xffffffff, 64); // INET_DIAG_NOCOOKIE, twice
  request.writeUInt32LE(0xffffffff, 68);
  return request;
}

/** struct inet_diag_msg. The lookup falls back to a listener on the same port, so everything is compared again. */
function ownerIn(
  response: Buffer,
  source: Uint8Array,
  sourcePort: number,
  destination: Uint8Array,
  destinationPort: number,
): number | undefined {
  const addressBytes = response[16] === AF_INET6 ? 16 : 4;
  const same =
    response.readUInt16BE(20) === sourcePort &&
    response.readUInt16BE(22) === destinationPort &&
    Buffer.compare(unmapped(response.subarray(24, 24 + addressBytes)), source) === 0 &&
    Buffer.compare(unmapped(response.subarray(40, 40 + addressBytes)), destination) === 0;
  const inode = response.readUInt32LE(84);
  // Without an inode the socket was closed by its owner, and the uid beside it may read 0.
  if (!same || inode === 0 || !OWNED_STATES.has(response.readUInt8(17))) return undefined;
  return response.readUInt32LE(80);
}
