import { Client } from "undici";
import type { StatusDocument } from "../admin/status-document.ts";
import { CountersignError } from "../core/errors.ts";
import { printable } from "../core/safe-text.ts";

const TIMEOUT_MS = 5000;
const MAX_BYTES = 4 * 1024 * 1024;

/** Asks the sidecar at an admin socket for its status. Rejects with CountersignError E_STATUS_UNREACHABLE when nobody answers in
 *  5 s, or something that is no sidecar does. */
export async function fetchStatus(socketPath: string): Promise<StatusDocument> {
  const client = new Client("http://localhost", {
    socketPath,
    connect: { timeout: TIMEOUT_MS },
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
    maxResponseSize: MAX_BYTES,
  });
  try {
    const { statusCode, body } = await client.request({ method: "GET", path: "/status" });
    const text = await body.text();
    if (statusCode !== 200) throw unreachable(socketPath, `answered with HTTP status ${statusCode}`);
    const value: unknown = parsed(text);
    if (!isStatus(value)) throw unreachable(socketPath, "answered, but not as a sidecar of this version does");
    return value;
  } catch (error) {
    if (error instanceof CountersignError) throw error;
    throw unreachable(socketPath, reasonOf(error), error);
  } finally {
    await client.destroy();
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
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

function reasonOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  switch (code) {
    case "ENOENT":
      return "there is no such socket";
    case "ECONNREFUSED":
      return "nobody answers: the sidecar that made the socket is gone";
    case "EACCES":
    case "EPERM":
      return "you may not open it; it belongs to the sidecar's user";
    default:
      return error instanceof Error ? error.message : String(error);
  }
}

function unreachable(socketPath: string, reason: string, cause?: unknown): CountersignError {
  return new CountersignError("E_STATUS_UNREACHABLE", `unix://${printable(socketPath)}: ${printable(reason)}`, {
    cause,
  });
}
