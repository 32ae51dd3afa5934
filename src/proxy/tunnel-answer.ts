import type { RequestHead, ResponseHead } from "./http1/http1-events.ts";
import { isWebSocketAccept } from "./http1/websocket-accept.ts";

/** Why a 101 opens no tunnel; undefined: it does. `asked`: the protocol that the request asked for. */
export function switchProblem(request: RequestHead, asked: string | undefined, head: ResponseHead): string | undefined {
  if (asked === undefined || head.upgrade !== asked) return "the app switched protocols without being asked to";
  if (asked === "websocket" && !isWebSocketAccept(request.fields, head.fields)) {
    return "the app's Sec-WebSocket-Accept does not answer the caller's key";
  }
  return undefined;
}

/** Whether a final response to a request for a tunnel would say to an HTTP/2 caller that the tunnel is open, which it is not (RFC 8441
 *  section 5): it cannot be passed on. */
export function looksLikeTunnel(request: RequestHead, asked: string | undefined, { status }: ResponseHead): boolean {
  return status >= 200 && status < 300 && asked !== undefined && request.version === 2;
}
