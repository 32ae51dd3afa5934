import { closeSync, constants, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/** Writes a file of mode 0600 whole (a new file beside it, fsync, rename, fsync of the folder): a crash or a power loss leaves the old one or
 *  the new one. Throws what the file system throws. */
export function replaceFile(file: string, content: string | Uint8Array): void {
  const folder = openSync(dirname(file), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const temporary = `${file}.new`;
    writeNew(temporary, content);
    renameSync(temporary, file);
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function writeNew(file: string, content: string | Uint8Array): void {
  rmSync(file, { force: true });
  // made by us alone: nobody who has it open reads a secret, no link leads elsewhere
  const fd = openSync(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    writeFileSync(fd, content);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
