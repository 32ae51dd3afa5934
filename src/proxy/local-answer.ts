import type { ErrorCode } from "../core/error-codes.ts";
import type { OutgoingResponse } from "./http-streams.ts";
import { reasonPhrase } from "./http1/reason-phrases.ts";
import type { Refusal } from "./refusal.ts";

const OURS = ["content-type", "text/plain; charset=utf-8", "cache-control", "no-store"];
const OURS_WITHOUT_BODY = ["cache-control", "no-store"];
const NO_BODY = Buffer.alloc(0);
/** What ends with its head, whatever the head says (RFC 9112 section 6.3): bytes after it would be read as the next answer. 205 has no content
 *  either, and says so by a length of 0 (RFC 9110 section 15.3.6). */
const RESET_CONTENT = 205;
const BARE: ReadonlySet<number> = new Set([204, 205, 304]);

/** An answer of ours: one readable line with the code, what is wrong (where the caller may know) and the decision id, which
 *  finds the whole story in the audit log. `status`: a final one; one that has no content gets none, whoever chose it. `close`: the connection
 *  ends after it. `own`: who refused has fields or a body for the caller. */
export function localAnswer(
  status: number,
  code: ErrorCode,
  detail: string,
  id: string,
  method: string,
  close: boolean,
  own?: Refusal,
): { readonly response: OutgoingResponse; readonly body: Uint8Array } {
  const text = `countersign: ${code}${detail === "" ? "" : `: ${detail}`} (decision ${id})\n`;
  const isBare = BARE.has(status);
  const bytes = isBare ? NO_BODY : (own?.body ?? Buffer.from(text, "utf8"));
  const fields = [
    ...(own?.body !== undefined ? [] : isBare ? OURS_WITHOUT_BODY : OURS),
    ...(own?.fields ?? []),
    "x-countersign-code",
    code,
    "x-countersign-id",
    id,
  ];
  if (status === 405) fields.push("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
  if (status === 503) fields.push("retry-after", "1");
  const response: OutgoingResponse = {
    status,
    reason: reasonPhrase(status),
    fields,
    framing: isBare && status !== RESET_CONTENT ? { kind: "none" } : { kind: "length", length: bytes.length },
    close,
    upgrade: undefined,
  };
  return { response, body: method === "HEAD" ? NO_BODY : bytes };
}
