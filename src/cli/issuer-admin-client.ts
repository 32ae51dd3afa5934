import type { ErrorCode } from "../core/error-codes.ts";
import { errorCodes } from "../core/error-codes.ts";
import { CountersignError } from "../core/errors.ts";
import { printable } from "../core/safe-text.ts";
import { askSocket, type SocketOwner, type SocketQuestion } from "./ask-socket.ts";

const ISSUER: SocketOwner = {
  name: "the issuer",
  hint: ": is the issuer running?",
  timeoutMs: 10_000,
  maxBytes: 16 * 1024 * 1024,
};

/** Asks the issuer at an admin socket. Rejects with the CountersignError that it answers, or with E_ISSUER_ADMIN when nobody answers. */
export async function askIssuer(
  socketPath: string,
  method: SocketQuestion["method"],
  path: string,
  body?: string,
): Promise<unknown> {
  const problem = (reason: string, cause?: unknown): CountersignError => unreachable(socketPath, reason, cause);
  const { status, text, value } = await askSocket(socketPath, ISSUER, { method, path, body }, problem);
  if (status === 200 && value !== undefined) return value;
  throw problemOf(value) ?? problem(text.trim() || `answered with HTTP status ${status}`);
}

function problemOf(answer: unknown): CountersignError | undefined {
  const { error } = (answer ?? {}) as { readonly error?: { readonly code: ErrorCode; message: string; fix?: string } };
  if (error === undefined || !Object.hasOwn(errorCodes, error.code)) return undefined;
  return new CountersignError(error.code, printable(error.message), { fix: error.fix && printable(error.fix) });
}

function unreachable(socketPath: string, reason: string, cause?: unknown): CountersignError {
  return new CountersignError("E_ISSUER_ADMIN", `unix://${printable(socketPath)}: ${printable(reason)}`, { cause });
}
