import { readdirSync, readFileSync } from "node:fs";

export interface ProcessSize {
  readonly sockets: number;
  /** Resident, in MiB. */
  readonly rssMiB: number;
}

/** What a process holds now, from /proc. */
export function sizeOf(pid: number): ProcessSize {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return {
    sockets: readdirSync(`/proc/${pid}/fd`).length,
    rssMiB: Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024,
  };
}
