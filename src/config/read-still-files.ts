import type { Clock } from "../core/clock.ts";
import { CountersignError, CountersignErrors } from "../core/errors.ts";
import { type PolicyPath, readPolicyFiles, type SourceFile } from "./policy-source.ts";
import { sameFiles } from "./source-changes.ts";

/** As far apart as two equal reads must be: a folder that is being written is not a set. */
const SETTLE_MS = 200;
const MAX_READS = 20;

/** Reads policy files until they stand still. `known`: what was read before, and stood still then. Rejects with CountersignErrors, also when
 *  they change all the time. */
export async function readStillFiles(
  paths: readonly PolicyPath[],
  known: readonly SourceFile[] | undefined,
  clock: Clock,
): Promise<readonly SourceFile[]> {
  let before = known;
  for (let reads = 0; reads < MAX_READS; reads++) {
    // oxlint-disable-next-line no-await-in-loop -- one read after the other
    const files = await readPolicyFiles(paths);
    if (before !== undefined && sameFiles(files, before)) return files;
    before = files;
    // oxlint-disable-next-line no-await-in-loop -- the time between two reads
    await new Promise<void>((resolve) => void clock.after(SETTLE_MS, resolve));
  }
  throw new CountersignErrors([new CountersignError("E_CONFIG_FILE", "the policy files change all the time")]);
}
