// CPU time and memory of processes, read from Linux's /proc (proc(5)).
import { readdirSync, readFileSync, writeFileSync } from "node:fs";

/** USER_HZ, the unit of utime and stime: 100 on every Linux that Node runs on, whatever the kernel's own HZ is. */
const ticksPerSecond = 100;

export interface ProcessStat {
  readonly parentPid: number;
  /** User and system time of all threads, living and ended. */
  readonly cpuSeconds: number;
}

/** Reads the content of /proc/PID/stat. The second field, the program's name, may itself hold spaces and brackets. */
export function parseProcessStat(text: string): ProcessStat {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [parentPid, user, system] = [fields[1], fields[11], fields[12]].map(Number);
  if (parentPid === undefined || user === undefined || system === undefined || !Number.isFinite(user + system))
    throw new Error(`not the content of a stat file: ${JSON.stringify(text.slice(0, 80))}`);
  return { parentPid, cpuSeconds: (user + system) / ticksPerSecond };
}

/** A process and all of its descendants. */
export function processTree(root: number): number[] {
  const childrenOf = new Map<number, number[]>();
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    const stat = Number.isInteger(pid) ? readStat(pid) : undefined;
    if (stat === undefined) continue;
    const siblings = childrenOf.get(stat.parentPid);
    if (siblings === undefined) childrenOf.set(stat.parentPid, [pid]);
    else siblings.push(pid);
  }
  const found = [root];
  for (const pid of found) found.push(...(childrenOf.get(pid) ?? []));
  return found;
}

/** CPU seconds that a process and its descendants have used so far. */
export function treeCpuSeconds(root: number): number {
  return processTree(root).reduce((sum, pid) => sum + (readStat(pid)?.cpuSeconds ?? 0), 0);
}

/** Resident bytes of a process and its descendants now (`VmRSS`). Pages that they share are counted in each. */
export function treeRssBytes(root: number): number {
  return sumStatus(root, "VmRSS");
}

/** The highest resident size since the last `resetPeakRss` (`VmHWM`). */
export function treePeakRssBytes(root: number): number {
  return sumStatus(root, "VmHWM");
}

/** Makes the peak start again from the present size: writing 5 to clear_refs does that, for one's own processes. */
export function resetPeakRss(root: number): void {
  for (const pid of processTree(root)) writeFileSync(`/proc/${pid}/clear_refs`, "5");
}

function sumStatus(root: number, field: "VmRSS" | "VmHWM"): number {
  const pattern = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m");
  return processTree(root).reduce(
    (sum, pid) => sum + Number(pattern.exec(readProc(pid, "status"))?.[1] ?? 0) * 1024,
    0,
  );
}

function readStat(pid: number): ProcessStat | undefined {
  const text = readProc(pid, "stat");
  return text === "" ? undefined : parseProcessStat(text);
}

/** "" when the process has just ended. */
function readProc(pid: number, file: "stat" | "status"): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}
