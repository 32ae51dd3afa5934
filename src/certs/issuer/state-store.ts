import { closeSync, constants, fstatSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { CountersignError } from "../../core/errors.ts";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import { lockFile } from "../../sys/file-lock.ts";
import { guardFolder } from "./guarded-folder.ts";
import { DamagedState, decodeState, encodeState } from "./state-codec.ts";
import type { AuthoritySet } from "./trust-bundle.ts";

const FILE_NAME = "authorities.json";
const MAX_BYTES = 1024 * 1024;
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
    write: (authorities) => writeStateFile(file, authorities),
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
  const bytes = readGuarded(file, damaged);
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

function readGuarded(file: string, damaged: (why: string, cause?: unknown) => CountersignError): Buffer | undefined {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    const code = (cause as { readonly code?: unknown }).code;
    if (code === "ENOENT") return undefined;
    throw damaged(code === "ELOOP" ? "is a symbolic link" : `cannot be opened (${String(code)})`, cause);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw damaged("is not a regular file");
    if (stat.uid !== 0 && stat.uid !== process.geteuid?.()) throw damaged(`belongs to uid ${stat.uid}`);
    if ((stat.mode & GROUP_OR_OTHERS) !== 0) {
      const octal = (stat.mode & 0o777).toString(8).padStart(4, "0");
      throw damaged(`has mode ${octal}: its keys may have been read; make it 0600 if nobody did`);
    }
    if (stat.size > MAX_BYTES) throw damaged(`is larger than ${MAX_BYTES} bytes`);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

function writeStateFile(file: string, authorities: AuthoritySet): void {
  const temporary = `${file}.new`;
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;
  const fd = openSync(temporary, flags, 0o600);
  try {
    writeFileSync(fd, encodeState(authorities));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, file);
  const folder = openSync(dirname(file), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
