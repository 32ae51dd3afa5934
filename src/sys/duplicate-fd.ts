import { CountersignError } from "../core/errors.ts";
import { libc } from "./libc.ts";

const F_DUPFD_CLOEXEC = 1030;

/** Another descriptor of the same open file or socket, the caller's to close. Throws CountersignError E_SYS_UNAVAILABLE without Linux or
 *  node:ffi, and where the process has no descriptor left. */
export function duplicateFd(fd: number): number {
  if (process.platform !== "linux")
    throw new CountersignError("E_SYS_UNAVAILABLE", "several workers at one socket need Linux", {
      fix: "write workers: 1",
    });
  const copy = libc().fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0)
    throw new CountersignError(
      "E_SYS_UNAVAILABLE",
      "a socket cannot be handed to a worker: no file descriptor is left",
      {
        fix: "raise the limit of open files (ulimit -n)",
      },
    );
  return copy;
}
