import { readFileSync } from "node:fs";

/** Why a peer's uid cannot be believed, or undefined. A user that has no number in our user namespace is shown as the
 *  overflow uid (65534), which is also `nobody`: only a namespace that maps every uid can tell the two apart. */
export function uidProblem(uid: number): string | undefined {
  return uidProblemIn(
    uid,
    readFileSync("/proc/sys/kernel/overflowuid", "latin1"),
    readFileSync("/proc/self/uid_map", "latin1"),
  );
}

/** The same on given texts of /proc/sys/kernel/overflowuid and /proc/self/uid_map. */
export function uidProblemIn(uid: number, overflowUid: string, uidMap: string): string | undefined {
  if (uid !== Number(overflowUid)) return undefined;
  const everyUidIsMapped = /^\s*0\s+0\s+4294967295\s*$/.test(uidMap);
  return everyUidIsMapped ? undefined : `the peer's uid has no number in this user namespace (it shows as ${uid})`;
}
