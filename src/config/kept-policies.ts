import { createHash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { lstat, mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { CountersignError } from "../core/errors.ts";
import type { PolicySignature } from "./policy-signature.ts";
import type { SourceFile } from "./policy-source.ts";
import type { PolicyUrlConfig } from "./sidecar-config.ts";

/** Policies of a URL as they were last taken. */
export interface KeptPolicies {
  readonly url: string;
  readonly text: string;
  readonly etag: string | undefined;
  readonly signature: PolicySignature | undefined;
  /** When the server last said that this is what it has; milliseconds since the epoch. */
  readonly confirmedAtMs: number;
}

/** JSON may need six bytes for one. */
const MAX_BYTES = 6 * 4 * 2 ** 20 + 65_536;

/** The file in which the policies of a URL are kept. */
export function keptFile(folder: string, url: string): string {
  return join(folder, `${createHash("sha256").update(url).digest("hex").slice(0, 32)}.json`);
}

/** Reads the kept copy; undefined when there is none. Throws CountersignError E_POLICY_KEPT for one that anybody else could have written,
 *  or that is not what was written there. */
export async function readKeptPolicies(folder: string, url: string): Promise<KeptPolicies | undefined> {
  const file = keptFile(folder, url);
  try {
    await using handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stat = await handle.stat();
    if (!stat.isFile() || stat.size > MAX_BYTES) throw refused(file, "is no file of a sidecar");
    refuseForeign(file, stat);
    refuseForeign(folder, await lstat(folder));
    const kept: unknown = JSON.parse(await handle.readFile("utf8"));
    if (!isKept(kept) || kept.url !== url) throw refused(file, "is not what was written there");
    return kept;
  } catch (error) {
    if (error instanceof CountersignError) throw error;
    const code = error instanceof Error && "code" in error ? String(error.code) : "not JSON";
    // no folder is said when something is to be written there
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw refused(file, `cannot be read (${code})`, error);
  }
}

/** Whoever could write it could give us policies. */
function refuseForeign(path: string, { uid, mode }: { readonly uid: number; readonly mode: number }): void {
  const own = process.geteuid?.();
  if (uid !== own && uid !== 0) throw refused(path, `belongs to uid ${uid}`);
  if ((mode & 0o022) !== 0) throw refused(path, "can be written by other users");
}

/** Writes the copy whole or not at all, also over a power loss, where it could be read again. Throws CountersignError E_POLICY_KEPT. */
export async function writeKeptPolicies(folder: string, kept: KeptPolicies): Promise<void> {
  const file = keptFile(folder, kept.url);
  // of its own: another sidecar may write here as well
  const temporary = `${file}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    refuseForeign(folder, await lstat(folder));
    try {
      {
        // A link that somebody laid there is not followed.
        const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
        await using handle = await open(temporary, flags, 0o600);
        await handle.chmod(0o600);
        await handle.writeFile(JSON.stringify(kept));
        await handle.sync();
      }
      await rename(temporary, file);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  } catch (error) {
    if (error instanceof CountersignError) throw error;
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    throw refused(file, `cannot be written (${code})`, error);
  }
}

function isKept(value: unknown): value is KeptPolicies {
  if (typeof value !== "object" || value === null) return false;
  const { url, text, etag, signature, confirmedAtMs } = value as Record<string, unknown>;
  if (typeof url !== "string" || typeof text !== "string" || typeof confirmedAtMs !== "number") return false;
  if (etag !== undefined && typeof etag !== "string") return false;
  if (signature === undefined) return true;
  if (typeof signature !== "object" || signature === null) return false;
  const { version, signature: bytes } = signature as Record<string, unknown>;
  return Number.isSafeInteger(version) && typeof bytes === "string";
}

function refused(path: string, why: string, cause?: unknown): CountersignError {
  return new CountersignError("E_POLICY_KEPT", `${path} ${why}`, { cause });
}

/** What is kept of policies at URLs, for commands that do not ask the network; `missing`: of which there is nothing, or nothing that can be
 *  used. Signatures are not verified again. */
export async function keptPolicyFiles(
  urls: readonly PolicyUrlConfig[],
): Promise<{ readonly files: readonly SourceFile[]; readonly missing: readonly PolicyUrlConfig[] }> {
  const read = await Promise.all(
    urls.map(async (url) => ({ url, kept: await readKeptPolicies(url.cache, url.url).catch(() => undefined) })),
  );
  return {
    files: read.flatMap(({ url, kept }) => (kept === undefined ? [] : [{ file: url.url, text: kept.text }])),
    missing: read.flatMap(({ url, kept }) => (kept === undefined ? [url] : [])),
  };
}
