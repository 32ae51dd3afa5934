import { Client } from "undici";
import type { ErrorCode } from "../core/error-codes.ts";
import { errorCodes } from "../core/error-codes.ts";
import { CountersignError } from "../core/errors.ts";
import { printable } from "../core/safe-text.ts";

const TIMEOUT_MS = 10_000;
const MAX_BYTES = 16 * 1024 * 1024;

/** Asks the issuer at an admin socket. Rejects with the CountersignError that it answers, or with E_ISSUER_ADMIN when nobody answers. */
export async function askIssuer(
  socketPath: string,
  method: "GET" | "POST" | "PUT" | "DELETE",
  path: string,
  body?: string,
): Promise<unknown> {
  const client = new Client("http://localhost", {
    socketPath,
    connect: { timeout: TIMEOUT_MS },
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
    maxResponseSize: MAX_BYTES,
  });
  try {
    const response = await client.request({ method, path, ...(body === undefined ? {} : { body }) });
    const text = await response.body.text();
    const answer: unknown = parsed(text);
    if (response.statusCode === 200 && answer !== undefined) return answer;
    throw (
      problemOf(answer) ?? unreachable(socketPath, text.trim() || `answered with HTTP status ${response.statusCode}`)
    );
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

function problemOf(answer: unknown): CountersignError | undefined {
  const { error } = (answer ?? {}) as { readonly error?: { readonly code: ErrorCode; message: string; fix?: string } };
  if (error === undefined || !Object.hasOwn(errorCodes, error.code)) return undefined;
  return new CountersignError(error.code, printable(error.message), { fix: error.fix && printable(error.fix) });
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ENOENT") return "there is no such socket: is the issuer running?";
  if (code === "ECONNREFUSED") return "nobody answers: the issuer that made the socket is gone";
  if (code === "EACCES" || code === "EPERM") return "you may not open it; it belongs to the issuer's user";
  return error instanceof Error ? error.message : String(error);
}

function unreachable(socketPath: string, reason: string, cause?: unknown): CountersignError {
  return new CountersignError("E_ISSUER_ADMIN", `unix://${printable(socketPath)}: ${printable(reason)}`, { cause });
}
