import { lstatSync, mkdirSync, realpathSync, type Stats } from "node:fs";
import { dirname, join } from "node:path";
import type { ErrorCode } from "../../core/error-codes.ts";
import { CountersignError } from "../../core/errors.ts";

const GROUP_OR_OTHERS_WRITE = 0o022;
const STICKY = 0o1000;

/** Makes sure that nobody but root and this user can put something else in the place of what stands in a folder: makes
 *  the folder with `mode` if it is missing, then checks its owner and `forbidden` bits, and that no folder above lets others
 *  rename it. Returns its real path. Throws CountersignError with `code`. */
export function guardFolder(
  folder: string,
  { mode, forbidden, code }: { readonly mode: number; readonly forbidden: number; readonly code: ErrorCode },
): string {
  const fail = (message: string, fix: string, cause?: unknown): never => {
    throw new CountersignError(code, message, { fix, cause });
  };
  let real: string;
  try {
    mkdirSync(folder, { mode, recursive: true });
    real = realpathSync(folder);
  } catch (cause) {
    const why = String((cause as { readonly code?: unknown }).code);
    return fail(`the folder ${folder} cannot be made (${why})`, "make it, owned by the issuer's user", cause);
  }
  const stat = lstatSync(real);
  if (!isOurs(stat)) fail(`the folder ${real} belongs to uid ${stat.uid}`, `chown it to uid ${process.geteuid?.()}`);
  if ((stat.mode & forbidden) !== 0) {
    const octal = (stat.mode & 0o777).toString(8).padStart(4, "0");
    fail(`the folder ${real} has mode ${octal}`, `chmod ${mode.toString(8).padStart(4, "0")} ${real}`);
  }
  for (let above = dirname(real); ; above = dirname(above)) {
    const { mode: bits, uid } = lstatSync(above);
    const writable = (bits & GROUP_OR_OTHERS_WRITE) !== 0 && (bits & STICKY) === 0;
    if (writable || !isOurs({ uid }))
      fail(
        `the folder ${above}, above ${real}, is in the hands of other users`,
        `use a folder below root's, such as ${join("/run", "countersign")}`,
      );
    if (above === dirname(above)) return real;
  }
}

function isOurs({ uid }: Pick<Stats, "uid">): boolean {
  return uid === 0 || uid === process.geteuid?.();
}
