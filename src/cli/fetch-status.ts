import type { StatusDocument } from "../admin/status-document.ts";
import { CountersignError } from "../core/errors.ts";
import { printable } from "../core/safe-text.ts";
import { askSocket, type SocketOwner } from "./ask-socket.ts";

const SIDECAR: SocketOwner = { name: "the sidecar", hint: "", timeoutMs: 5000, maxBytes: 4 * 1024 * 1024 };

/** Asks the sidecar at an admin socket for its status. Rejects with CountersignError E_STATUS_UNREACHABLE when nobody answers in
 *  5 s, or something that is no sidecar does. */
export async function fetchStatus(socketPath: string): Promise<StatusDocument> {
  const problem = (reason: string, cause?: unknown): CountersignError => unreachable(socketPath, reason, cause);
  const { status, value } = await askSocket(socketPath, SIDECAR, { method: "GET", path: "/status" }, problem);
  if (status !== 200) throw problem(`answered with HTTP status ${status}`);
  if (!isStatus(value)) throw problem("answered, but not as a sidecar of this version does");
  return value;
}

/** Enough to read the document safely: the sections that the view walks through. */
function isStatus(value: unknown): value is StatusDocument {
  if (typeof value !== "object" || value === null) return false;
  const { ready, reasons, identity, listeners, audit, reloadProblems } = value as Record<string, unknown>;
  if (typeof ready !== "boolean" || ![reasons, listeners, reloadProblems].every(Array.isArray)) return false;
  if (typeof identity !== "object" || identity === null || typeof audit !== "object" || audit === null) return false;
  const { svids, bundles } = identity as Record<string, unknown>;
  return Array.isArray(svids) && Array.isArray(bundles) && "sinks" in audit && Array.isArray(audit.sinks);
}

function unreachable(socketPath: string, reason: string, cause?: unknown): CountersignError {
  return new CountersignError("E_STATUS_UNREACHABLE", `unix://${printable(socketPath)}: ${printable(reason)}`, {
    cause,
  });
}
