import type { CallOutcome } from "../core/call-outcome.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import type { RequestHead } from "./http1/http1-events.ts";

const MAX_RETRIES = 2;
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]);

/** Whether a call without a response that failed so may be sent once more: nothing of a body has left, and the upstream says that it has not begun
 *  (RFC 9113 section 8.7), or to have it done twice is to have it done once (RFC 9110 section 9.2.2). */
export function isSafeAgain(head: RequestHead, { bytesIn, retries }: CallOutcome, code: ErrorCode): boolean {
  if (bytesIn > 0 || retries >= MAX_RETRIES) return false;
  if (code === "E_UPSTREAM_REFUSED_STREAM") return true;
  if (code !== "E_UPSTREAM_CLOSED" && code !== "E_UPSTREAM_RESET") return false;
  const { framing, method, upgrade } = head;
  const hasBody = framing.kind !== "none" && !(framing.kind === "length" && framing.length === 0);
  return !hasBody && upgrade === undefined && IDEMPOTENT.has(method);
}
