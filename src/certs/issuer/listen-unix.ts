import { once } from "node:events";
import { lstatSync, unlinkSync } from "node:fs";
import { connect, type Server } from "node:net";
import { basename, dirname, join } from "node:path";
import { CountersignError } from "../../core/errors.ts";
import { guardFolder } from "./guarded-folder.ts";

const GROUP_OR_OTHERS_WRITE = 0o022;

/** Who may connect: every local user (readable and writable by all, as SPIRE's: attestation decides, not the file's mode), or
 *  root and this user alone. */
export type SocketAudience = "everyone" | "owner";

/** Listens on a Unix socket in a folder that only root and this user may change, or another user could put a socket of his own in
 *  its place. A socket that a dead process left behind is removed. Throws CountersignError E_ISSUER_SOCKET. */
export async function listenUnix(server: Server, path: string, audience: SocketAudience): Promise<void> {
  const folder = guardFolder(dirname(path), { mode: 0o755, forbidden: GROUP_OR_OTHERS_WRITE, code: "E_ISSUER_SOCKET" });
  const real = join(folder, basename(path));
  try {
    await listen(server, real, audience);
  } catch (error) {
    if (errorCode(error) !== "EADDRINUSE") throw refusal(`cannot listen on ${path} (${errorCode(error)})`, error);
    await removeStale(real);
    await listen(server, real, audience).catch((cause: unknown) => {
      throw refusal(`cannot listen on ${path} (${errorCode(cause)})`, cause);
    });
  }
}

async function listen(server: Server, path: string, audience: SocketAudience): Promise<void> {
  const isPublic = audience === "everyone";
  // Node binds a Unix socket within the call, so the mask touches nothing else.
  const before = process.umask(isPublic ? 0o022 : 0o177);
  try {
    server.listen({ path, readableAll: isPublic, writableAll: isPublic });
  } finally {
    process.umask(before);
  }
  await once(server, "listening");
}

async function removeStale(path: string): Promise<void> {
  if (!lstatSync(path).isSocket()) throw refusal(`${path} exists and is not a socket`);
  const probe = connect(path);
  try {
    await once(probe, "connect");
  } catch (cause) {
    if (errorCode(cause) !== "ECONNREFUSED")
      throw refusal(`${path} exists and cannot be tried (${errorCode(cause)})`, cause);
    unlinkSync(path);
    return;
  } finally {
    probe.destroy();
  }
  throw refusal(`another process answers on ${path}`);
}

function refusal(message: string, cause?: unknown): CountersignError {
  return new CountersignError("E_ISSUER_SOCKET", message, { cause });
}

function errorCode(error: unknown): string {
  return String((error as { readonly code?: unknown }).code);
}
