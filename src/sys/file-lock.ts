import { closeSync, constants, openSync } from "node:fs";
import { libc } from "./libc.ts";

const LOCK_EX_NB = 2 | 4;

/** Locks a file for this process (flock(2)), making it with mode 0600. Returns the release function, or undefined when
 *  another process holds it. The kernel releases it when the process ends, however it ends.
 *  Throws CountersignError E_SYS_UNAVAILABLE, and what opening a file throws. */
export function lockFile(path: string): (() => void) | undefined {
  const { flock } = libc();
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  if (flock(fd, LOCK_EX_NB) !== 0) {
    closeSync(fd);
    return undefined;
  }
  return () => closeSync(fd);
}
