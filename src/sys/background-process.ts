import { writeFileSync } from "node:fs";
import { constants, setPriority } from "node:os";
import { libc } from "./libc.ts";

/** sched_setscheduler(2), called by its number: musl's function of that name does nothing. */
const SYS_SCHED_SETSCHEDULER: Readonly<Record<string, bigint>> = { x64: 144n, arm64: 119n };
const SCHED_IDLE = 5n;
/** struct sched_param. Kept: an address alone keeps nothing. */
const NO_PRIORITY = Buffer.alloc(4);
/** proc(5), oom_score_adj: the first to be ended when memory runs out. */
const FIRST_TO_END = "1000";

/** Makes a process that was just started the one that waits: it, and the threads that it makes from then on, has the processors when nobody else wants
 *  them. A low priority alone would not do: from Linux 6.6 on, a thread
 *  that wakes up waits some milliseconds for one that runs, whatever its priority. There is no way back without privileges. What the system
 *  lacks or refuses is left out: elsewhere than on Linux it is the lowest priority. */
export function putInBackground(pid: number): void {
  attempt(() => setPriority(pid, constants.priority.PRIORITY_LOW));
  if (process.platform !== "linux") return;
  attempt(() => {
    const number = SYS_SCHED_SETSCHEDULER[process.arch];
    if (number === undefined) return;
    const { getRawPointer } = process.getBuiltinModule("node:ffi");
    libc().syscall(number, BigInt(pid), SCHED_IDLE, getRawPointer(NO_PRIORITY));
  });
}

/** Makes a process what Linux ends first when memory runs out. Where it ends the container as a whole (memory.oom.group of cgroup v2, which Kubernetes
 *  sets), it is no help. */
export function endFirst(pid: number): void {
  if (process.platform === "linux") attempt(() => writeFileSync(`/proc/${pid}/oom_score_adj`, FIRST_TO_END));
}

function attempt(step: () => void): void {
  try {
    step();
  } catch {
    // a courtesy to others: what is refused is not needed
  }
}
