import { constants } from "node:fs";
import { type FileHandle, open, realpath, rename, rm } from "node:fs/promises";
import { CountersignError } from "../core/errors.ts";

/** A file that is to have another text. */
export interface FileChange {
  readonly file: string;
  /** What was read of it, without a byte order mark. */
  readonly before: string;
  readonly text: string;
}

/** Gives a new file the owner of the one that it replaces; tests have one that fails. */
export type GiveAway = (handle: FileHandle, uid: number, gid: number) => Promise<void>;

interface Prepared {
  /** Where links lead. */
  readonly file: string;
  readonly temporary: string;
}

const BOM = "\ufeff";

/** Replaces files, each whole or not at all, with their owner, group, mode and byte order mark. Of a link what it leads to is replaced, the link stays.
 *  All new files are made before the first one takes its place: when one cannot be made as it should be, none has changed. Throws
 *  CountersignError E_POLICY_FIX. */
export async function replaceFiles(
  changes: readonly FileChange[],
  giveAway: GiveAway = (handle, uid, gid) => handle.chown(uid, gid),
): Promise<void> {
  const prepared: Prepared[] = [];
  try {
    for (const change of changes) {
      // what was made is to be removed when the next one fails
      // oxlint-disable-next-line no-await-in-loop
      prepared.push(await prepare(change, giveAway));
    }
    while (prepared[0] !== undefined) {
      const { file, temporary } = prepared[0];
      // oxlint-disable-next-line no-await-in-loop
      await rename(temporary, file).catch((cause: unknown) => {
        const others = "files before it have changed, those behind it have not";
        throw new CountersignError("E_POLICY_FIX", `the file cannot be replaced: ${others}`, { at: { file }, cause });
      });
      prepared.shift();
    }
  } catch (error) {
    await Promise.all(prepared.map(({ temporary }) => rm(temporary, { force: true })));
    throw error;
  }
}

async function prepare({ file: named, before, text }: FileChange, giveAway: GiveAway): Promise<Prepared> {
  const fail = (why: string, cause?: unknown) =>
    new CountersignError("E_POLICY_FIX", `${why}: nothing is fixed`, { at: { file: named }, cause });
  try {
    const file = await realpath(named);
    await using old = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const { uid, gid, mode, nlink } = await old.stat();
    if (nlink > 1) throw fail(`the file has ${nlink} names, of which one would lead to another file`);
    const written = (await old.readFile()).toString("utf8");
    const mark = written.startsWith(BOM) ? BOM : "";
    if (written.slice(mark.length) !== before) throw fail("the file was changed meanwhile");
    const temporary = `${file}.${process.pid}.fix`;
    await using handle = await open(temporary, "wx", 0o600);
    try {
      await handle.writeFile(mark + text);
      const now = await handle.stat();
      if (now.uid !== uid || now.gid !== gid)
        await giveAway(handle, uid, gid).catch((error: unknown) => {
          throw fail(
            `the file belongs to user ${uid} and group ${gid}, which this user cannot give a new one to`,
            error,
          );
        });
      // After the owner, for that takes the bits of setuid and setgid away.
      await handle.chmod(mode & 0o7777);
      await handle.sync();
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    return { file, temporary };
  } catch (error) {
    if (error instanceof CountersignError) throw error;
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    throw fail(`the file cannot be replaced${code === "" ? "" : ` (${code})`}`, error);
  }
}
