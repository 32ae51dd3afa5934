import { join } from "node:path";
import { CountersignError } from "../../core/errors.ts";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import { lockFile } from "../../sys/file-lock.ts";
import { replaceFile } from "../replace-file.ts";
import { readGuardedFile } from "./guarded-file.ts";
import { guardFolder } from "./guarded-folder.ts";
import { DamagedState, decodeState, encodeState } from "./state-codec.ts";
import type { AuthoritySet } from "./trust-bundle.ts";

const FILE_NAME = "authorities.json";
const GROUP_OR_OTHERS = 0o077;

/** The issuer's keys on disk: one file of mode 0600 in a folder of mode 0700, written whole (temporary file, fsync,
 *  rename), so that a crash leaves the old or the new one. */
export interface StateStore {
  /** undefined: nothing was ever written. Throws CountersignError E_ISSUER_STATE. */
  read(): AuthoritySet | undefined;
  /** Returns when it is on disk. Throws what the file system throws. */
  write(authorities: AuthoritySet): void;
  close(): void;
}

/** Opens the folder for this process alone. Throws CountersignError E_ISSUER_STATE or E_ISSUER_STATE_LOCKED. */
export function openStateStore(folder: string, trustDomain: TrustDomain): StateStore {
  const real = guardFolder(folder, { mode: 0o700, forbidden: GROUP_OR_OTHERS, code: "E_ISSUER_STATE" });
  const file = join(real, FILE_NAME);
  const release = lockFile(join(real, "lock"));
  if (release === undefined)
    throw new CountersignError("E_ISSUER_STATE_LOCKED", `another issuer uses the state folder ${real}`);
  return {
    read: () => readStateFile(file, trustDomain),
    write: (authorities) => replaceFile(file, encodeState(authorities)),
    close: release,
  };
}

/** Reads the state without locking it: what a running issuer wrote last. Throws CountersignError E_ISSUER_NO_STATE,
 *  E_ISSUER_STATE. */
export function readState(folder: string, trustDomain: TrustDomain): AuthoritySet {
  const authorities = readStateFile(join(folder, FILE_NAME), trustDomain);
  if (authorities === undefined)
    throw new CountersignError("E_ISSUER_NO_STATE", `the state folder ${folder} holds no certificate authority yet`);
  return authorities;
}

function readStateFile(file: string, trustDomain: TrustDomain): AuthoritySet | undefined {
  const damaged = (why: string, cause?: unknown): CountersignError =>
    new CountersignError("E_ISSUER_STATE", why, { at: { file }, cause });
  const bytes = readGuardedFile(file, damaged);
  if (bytes === undefined) return undefined;
  let set: AuthoritySet;
  try {
    set = decodeState(bytes);
  } catch (cause) {
    // The parser's message may quote the file, which holds keys: it stays out of ours, and out of the cause.
    const why = cause instanceof DamagedState ? cause.message : "is not a state file of the issuer";
    throw damaged(why);
  }
  if (set.trustDomain !== trustDomain)
    throw damaged(`holds the authorities of ${set.trustDomain}, not of ${trustDomain}`);
  return set;
}
