import { closeSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { CountersignError } from "../core/errors.ts";
import { libc } from "./libc.ts";

const SOL_SOCKET = 1;
const SO_PEERPIDFD = 77;
const SYS_PIDFD_OPEN = 434n;
const POLLIN = 1;

/** A handle on one process that no later process with the same pid can be mistaken for (pidfd_open(2)). */
export interface Pidfd {
  /** Whether the process still runs; while it does, /proc/<pid> is about it and nobody else. */
  isAlive(): boolean;
  close(): void;
}

/** Opens a handle on the process that connected an accepted Unix socket. From Linux 6.5 on the kernel gives the very
 *  process (SO_PEERPIDFD); before, the pid is opened, and another process of the same number may have slipped in if the
 *  peer ended since: so compare its uid as well. Throws CountersignError E_PEER_CREDENTIALS when the process is gone. */
export function openPeerPidfd(socketFd: number, pid: number): Pidfd {
  const fd = hasPeerPidfd(release())
    ? peerPidfd(socketFd)
    : Number(libc().syscall(SYS_PIDFD_OPEN, BigInt(pid), 0n, 0n));
  if (fd < 0) throw new CountersignError("E_PEER_CREDENTIALS", `process ${pid} has ended since it connected`);
  const pollEntry = Buffer.alloc(8);
  pollEntry.writeInt32LE(fd, 0);
  pollEntry.writeInt16LE(POLLIN, 4);
  let open = true;
  const handle: Pidfd = {
    // A pidfd becomes readable when its process ends.
    isAlive: () => open && libc().poll(pollEntry, 1n, 0) === 0,
    close() {
      if (open) closeSync(fd);
      open = false;
    },
  };
  if (pidOf(fd) === pid) return handle;
  handle.close();
  throw new CountersignError("E_PEER_CREDENTIALS", `process ${pid} is not the one that connected`);
}

/** Whether a kernel release (`uname -r`) has SO_PEERPIDFD. Asked by number: a failing getsockopt may also mean that the
 *  peer is gone, and then falling back to its pid would be wrong. */
export function hasPeerPidfd(kernelRelease: string): boolean {
  const [major = 0, minor = 0] = kernelRelease.split(".").map((part) => Number.parseInt(part, 10));
  return major > 6 || (major === 6 && minor >= 5);
}

function peerPidfd(socketFd: number): number {
  const value = Buffer.alloc(4);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(4);
  return libc().getsockopt(socketFd, SOL_SOCKET, SO_PEERPIDFD, value, length) === 0 ? value.readInt32LE(0) : -1;
}

function pidOf(fd: number): number {
  const line = /^Pid:\t(-?\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"));
  return Number(line?.[1] ?? -1);
}
