import { closeSync, constants, fstatSync, openSync, readFileSync, readlinkSync, statSync } from "node:fs";
import type { Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import { CountersignError } from "../core/errors.ts";
import { createExecutableHasher, type ExecutableHasher, type HashLimits } from "./hash-executable.ts";
import { libc } from "./libc.ts";
import { type PeerCredentials, peerCredentials } from "./peer-credentials.ts";
import { openPeerPidfd, type Pidfd } from "./pidfd.ts";
import { socketFd } from "./socket-fd.ts";
import { uidProblem } from "./uid-problem.ts";

/** What a local peer runs at this moment. */
export interface PeerProgram {
  /** Absolute path of the executable; undefined when the file at that path is not (any more) what runs. */
  readonly path: string | undefined;
  /** SHA-256 of the executable in lower-case hex; undefined when nobody asked for it. */
  readonly sha256: string | undefined;
}

/** The process at the other end of one accepted Unix socket. */
export interface LocalPeer {
  readonly credentials: PeerCredentials;
  /** Looks again at what the process runs now: it may have executed another program since. `wantsHash` gets the path
   *  and says whether the hash is worth its cost. Throws CountersignError E_PEER_CREDENTIALS when the process is gone, lives
   *  in other namespaces, changed its uid, or may not be looked at, and E_HASH_LIMIT. */
  inspect(wantsHash: (path: string | undefined) => boolean): Promise<PeerProgram>;
  close(): void;
}

/** Tells who connected. Tests pass a fake one. */
export interface PeerCredentialsReader {
  /** Whether peers of other uids can be looked at too; else `inspect` refuses them. */
  readonly seesOtherUsers: boolean;
  /** Throws CountersignError E_PEER_CREDENTIALS or E_SYS_UNAVAILABLE. The caller closes the result. */
  open(socket: Socket): LocalPeer;
}

const NAMESPACES = ["mnt", "pid", "user"] as const;
const DEFAULT_HASH_LIMITS: HashLimits = { maxFileBytes: 512 * 1024 * 1024, bytesPerMinute: 1024 * 1024 * 1024 };

/** The reader for Linux: SO_PEERCRED, a pidfd held as long as the connection, and /proc. A process of another uid can
 *  only be looked at with CAP_SYS_PTRACE. Throws CountersignError E_SYS_UNAVAILABLE. */
export function createPeerCredentialsReader(
  clock: Clock,
  hashLimits: HashLimits = DEFAULT_HASH_LIMITS,
): PeerCredentialsReader {
  libc(); // says now, not at the first connection, that this is no Linux
  const hasher = createExecutableHasher(hashLimits, clock);
  return {
    seesOtherUsers: hasCapSysPtrace(readFileSync("/proc/self/status", "latin1")),
    open(socket) {
      const fd = socketFd(socket);
      if (fd === undefined) throw new CountersignError("E_PEER_CREDENTIALS", "the peer has hung up");
      const credentials = peerCredentials(fd);
      if (credentials.pid <= 0)
        throw new CountersignError(
          "E_PEER_CREDENTIALS",
          "the peer lives in a pid namespace that cannot be seen from here",
        );
      const problem = uidProblem(credentials.uid);
      if (problem !== undefined) throw new CountersignError("E_PEER_CREDENTIALS", problem);
      const pidfd = openPeerPidfd(fd, credentials.pid);
      return {
        credentials,
        inspect: (wantsHash) => inspect(credentials, pidfd, hasher, wantsHash),
        close: () => pidfd.close(),
      };
    },
  };
}

const CAP_SYS_PTRACE = 19n;

function hasCapSysPtrace(status: string): boolean {
  const capabilities = /^CapEff:\t([0-9a-f]+)$/m.exec(status)?.[1];
  return capabilities !== undefined && ((BigInt(`0x${capabilities}`) >> CAP_SYS_PTRACE) & 1n) === 1n;
}

async function inspect(
  credentials: PeerCredentials,
  pidfd: Pidfd,
  hasher: ExecutableHasher,
  wantsHash: (path: string | undefined) => boolean,
): Promise<PeerProgram> {
  const { pid, uid } = credentials;
  const before = readProcess(credentials, true);
  let sha256: string | undefined;
  try {
    if (wantsHash(before.path)) {
      const { fd } = before;
      before.fd = -1; // the hasher closes it
      sha256 = await hasher.hash(fd, uid);
    }
  } finally {
    if (before.fd !== -1) closeSync(before.fd);
  }
  const after = readProcess(credentials, false);
  if (after.executable !== before.executable || after.path !== before.path)
    throw new CountersignError("E_PEER_CREDENTIALS", `process ${pid} executed another program while it was looked at`);
  // Last, so that everything above was about the process that connected and not about a successor of its pid.
  if (!pidfd.isAlive()) throw new CountersignError("E_PEER_CREDENTIALS", `process ${pid} has ended`);
  return { path: before.path, sha256 };
}

interface ProcessReading {
  /** Device and inode. */
  readonly executable: string;
  readonly path: string | undefined;
  /** The executable, open for reading; -1 when not kept. */
  fd: number;
}

function readProcess(credentials: PeerCredentials, keepOpen: boolean): ProcessReading {
  const { pid, uid } = credentials;
  let fd = -1;
  try {
    for (const name of NAMESPACES) {
      if (readlinkSync(`/proc/${pid}/ns/${name}`) !== readlinkSync(`/proc/self/ns/${name}`))
        throw new CountersignError("E_PEER_CREDENTIALS", `process ${pid} lives in another ${name} namespace`);
    }
    const effectiveUid = /^Uid:\t\d+\t(\d+)\t/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1];
    if (Number(effectiveUid ?? -1) !== uid)
      throw new CountersignError("E_PEER_CREDENTIALS", `process ${pid} changed its uid after it connected as ${uid}`);
    // The link leads to the file that runs, whatever stands at its path by now.
    fd = openSync(`/proc/${pid}/exe`, constants.O_RDONLY | constants.O_NONBLOCK);
    const { dev, ino } = fstatSync(fd, { bigint: true });
    const executable = `${dev}:${ino}`;
    const path = confirmPath(readlinkSync(`/proc/${pid}/exe`), executable);
    if (!keepOpen) {
      closeSync(fd);
      fd = -1;
    }
    return { executable, path, fd };
  } catch (cause) {
    if (fd !== -1) closeSync(fd);
    if (cause instanceof CountersignError) throw cause;
    throw new CountersignError("E_PEER_CREDENTIALS", unreadable(pid, uid, cause), { cause });
  }
}

/** The path, if what stands there is what runs: an executable that was replaced or removed has lost its path. */
function confirmPath(path: string, executable: string): string | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return `${dev}:${ino}` === executable ? path : undefined;
  } catch {
    return undefined; // gone, or a folder above it is closed to us
  }
}

function unreadable(pid: number, uid: number, cause: unknown): string {
  const code = (cause as { readonly code?: unknown }).code;
  if (code === "ENOENT" || code === "ESRCH") return `process ${pid} has ended`;
  return code === "EACCES" || code === "EPERM"
    ? `process ${pid} of uid ${uid} may not be looked at without CAP_SYS_PTRACE`
    : `process ${pid} could not be looked at (${String(code)})`;
}
