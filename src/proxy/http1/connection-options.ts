import { isToken } from "./byte-classes.ts";
import { trimOws } from "./framing.ts";
import type { Fault } from "./http1-fault.ts";

/** What the Connection fields of a message say (RFC 9110 section 7.6.1). */
export interface ConnectionOptions {
  readonly close: boolean;
  readonly keepAlive: boolean;
  readonly upgrade: boolean;
  /** Lower-cased names of fields that go with this hop. */
  readonly names: readonly string[];
}

const NOT_A_LIST: Fault = { code: "E_HTTP_CONNECTION", detail: "Connection is not a list of names" };
const NO_NAMES: readonly string[] = [];

export const NO_OPTIONS: ConnectionOptions = { close: false, keepAlive: false, upgrade: false, names: NO_NAMES };
const CLOSE: ConnectionOptions = { close: true, keepAlive: false, upgrade: false, names: NO_NAMES };
const KEEP_ALIVE: ConnectionOptions = { close: false, keepAlive: true, upgrade: false, names: NO_NAMES };
/** Fields that a Connection header can't take away: a caller who could would hide what framing, routing, policy or the
 *  app's own authentication rest on. `te` is here since the writers decide about it. */
const PROTECTED: ReadonlySet<string> = new Set([
  "host",
  "content-length",
  "transfer-encoding",
  "te",
  "trailer",
  "expect",
  "authorization",
  "proxy-authorization",
  "cookie",
  "set-cookie",
]);

/** Reads Connection (all its fields joined by commas). */
export function parseConnection(value: string): ConnectionOptions | Fault {
  if (value === "keep-alive" || value === "Keep-Alive") return KEEP_ALIVE;
  if (value === "close") return CLOSE;
  const names: string[] = [];
  let close = false;
  let keepAlive = false;
  let upgrade = false;
  for (const element of value.split(",")) {
    const option = trimOws(element).toLowerCase();
    if (option === "") continue;
    if (!isToken(option)) return NOT_A_LIST;
    if (option === "close") close = true;
    else if (option === "keep-alive") keepAlive = true;
    else if (option === "upgrade") upgrade = true;
    else if (!PROTECTED.has(option) && !names.includes(option)) names.push(option);
  }
  return { close, keepAlive, upgrade, names };
}
