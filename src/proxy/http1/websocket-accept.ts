import { createHash } from "node:crypto";
import { fieldValue } from "./field-value.ts";
import type { Fields } from "./http1-events.ts";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** Whether a 101 proves that its sender read the caller's key (RFC 6455 section 4.2.2): base64 of SHA-1 over key and GUID.
 *  False if either field is missing or repeated. */
export function isWebSocketAccept(request: Fields, response: Fields): boolean {
  const key = fieldValue(request, "sec-websocket-key");
  const accept = fieldValue(response, "sec-websocket-accept");
  if (key === undefined || accept === undefined) return false;
  return webSocketAccept(key) === accept;
}

/** What answers a key. */
export function webSocketAccept(key: string): string {
  return createHash("sha1")
    .update(key + GUID, "latin1")
    .digest("base64");
}
