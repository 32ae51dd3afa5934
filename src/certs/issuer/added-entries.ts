import { join } from "node:path";
import { CountersignError, CountersignErrors } from "../../core/errors.ts";
import { replaceFile } from "../replace-file.ts";
import type { Entry } from "./entries.ts";
import { entryJson } from "./entry-json.ts";
import { parseEntry } from "./entry-shape.ts";
import { readGuardedFile } from "./guarded-file.ts";

const FILE_NAME = "entries.json";

/** The entries that were added to the running issuer, as they were saved last; none if there is no file. Throws CountersignError
 *  E_ISSUER_STATE. */
export function readAddedEntries(stateFolder: string): readonly Entry[] {
  const file = join(stateFolder, FILE_NAME);
  const damaged = (why: string, cause?: unknown): CountersignError =>
    new CountersignError("E_ISSUER_STATE", why, { at: { file }, cause });
  const bytes = readGuardedFile(file, damaged);
  if (bytes === undefined) return [];
  try {
    const { entries } = JSON.parse(bytes.toString("utf8")) as { readonly entries: readonly unknown[] };
    return entries.map((entry) => parseEntry(JSON.stringify(entry), file));
  } catch (cause) {
    const why = cause instanceof CountersignErrors ? cause.message : "is not a list of entries";
    throw damaged(why, cause);
  }
}

/** Returns when they are on disk. Throws what the file system throws. */
export function writeAddedEntries(stateFolder: string, entries: readonly Entry[]): void {
  const document = { entries: entries.map(entryJson) };
  replaceFile(join(stateFolder, FILE_NAME), `${JSON.stringify(document, undefined, 2)}\n`);
}
