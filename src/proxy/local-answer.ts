import type { ErrorCode } from "../core/error-codes.ts";
import type { OutgoingResponse } from "./http-streams.ts";
import { reasonPhrase } from "./http1/reason-phrases.ts";
import type { Refusal } from "./refusal.ts";

const OURS = ["content-type", "text/plain; charset=utf-8", "cache-control", "no-store"];
const NO_BODY = Buffer.alloc(0);

/** An answer of ours: one readable line with the code, what is wrong (where the caller may know) and the decision id, which
 *  finds the whole story in the audit log. `close`: the connection ends after it. `own`: who refused has fields or a body for the caller. */
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
  const bytes = own?.body ?? Buffer.from(text, "utf8");
  const fields = [
    ...(own?.body === undefined ? OURS : []),
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
    framing: { kind: "length", length: bytes.length },
    close,
    upgrade: undefined,
  };
  return { response, body: method === "HEAD" ? NO_BODY : bytes };
}
