import { CountersignError } from "../core/errors.ts";
import { lockFile } from "../sys/file-lock.ts";

/** Keeps a second process off the same audit files: two writers would repeat sequence numbers. The lock is a file beside each (`.lock`),
 *  since the audit file itself is renamed when it rotates; the kernel lets go of it however the process ends. A folder that
 *  cannot be written to is audit's own concern, and a platform without locks goes without.
 *  Throws CountersignError E_AUDIT_FILE when another process has one. */
export function lockAuditFiles(paths: readonly string[]): () => void {
  const releases: (() => void)[] = [];
  const releaseAll = (): void => {
    for (const release of releases) release();
  };
  for (const path of paths) {
    let release: (() => void) | undefined;
    try {
      release = lockFile(`${path}.lock`);
    } catch {
      continue;
    }
    if (release === undefined) {
      releaseAll();
      throw new CountersignError("E_AUDIT_FILE", `another process writes to ${path}`, {
        fix: "give each sidecar an audit file of its own",
      });
    }
    releases.push(release);
  }
  return releaseAll;
}
