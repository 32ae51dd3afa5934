import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";

const MAX_BYTES = 1024 * 1024;
const GROUP_OR_OTHERS = 0o077;

/** Reads a file that holds secrets: a regular one of at most 1 MiB that belongs to root or this user and that nobody else may
 *  open. undefined: there is none. `symlinks` may lead to it where somebody else lays it out (Kubernetes mounts). Throws what
 *  `refuse` makes of the reason, which has nothing of the file in it. */
export function readGuardedFile(
  file: string,
  refuse: (why: string, cause?: unknown) => Error,
  { symlinks }: { readonly symlinks: boolean } = { symlinks: false },
): Buffer | undefined {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | (symlinks ? 0 : constants.O_NOFOLLOW));
  } catch (cause) {
    const code = (cause as { readonly code?: unknown }).code;
    if (code === "ENOENT") return undefined;
    throw refuse(code === "ELOOP" ? "is a symbolic link" : `cannot be opened (${String(code)})`, cause);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw refuse("is not a regular file");
    if (stat.uid !== 0 && stat.uid !== process.geteuid?.()) throw refuse(`belongs to uid ${stat.uid}`);
    if ((stat.mode & GROUP_OR_OTHERS) !== 0) {
      const octal = (stat.mode & 0o777).toString(8).padStart(4, "0");
      throw refuse(`has mode ${octal}: what is in it may have been read; make it 0600 if nobody did`);
    }
    if (stat.size > MAX_BYTES) throw refuse(`is larger than ${MAX_BYTES} bytes`);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}
