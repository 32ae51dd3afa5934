import type { RequestFacts } from "../core/call-facts.ts";

/** Compares a field name as received with a lower-case one, without allocating. */
function isNamed(name: string, lower: string): boolean {
  if (name.length !== lower.length) return false;
  for (let i = 0; i < lower.length; i++) {
    let code = name.charCodeAt(i);
    if (code >= 0x41 && code <= 0x5a) code |= 0x20;
    if (code !== lower.charCodeAt(i)) return false;
  }
  return true;
}

/** Offset in `headers` of the value of the next line with this lower-case name, from offset `from` on; -1: none. */
export function nextHeaderLine(request: RequestFacts, name: string, from: number): number {
  const { headers, lowerNames } = request;
  for (let i = from - (from % 2); i + 1 < headers.length; i += 2) {
    const found = lowerNames === undefined ? isNamed(headers[i] ?? "", name) : lowerNames[i >> 1] === name;
    if (found) return i + 1;
  }
  return -1;
}

const COLON = 0x3a;

/** Whether the name is that of no field line but of something that every request has: Host, which Envoy and HTTP/2 know as `:authority`,
 *  and the pseudo-headers of HTTP/2 (RFC 9113 section 8.3.1). */
export function isPseudoHeader(name: string): boolean {
  return name.charCodeAt(0) === COLON || name === "host";
}

/** What Envoy shows as a pseudo-header, whatever version of HTTP carried the request; undefined for one that no request has. */
function pseudoHeader({ method, authority, path, target, scheme }: RequestFacts, name: string): string | undefined {
  switch (name) {
    case "host":
    case ":authority":
      return authority === "" ? undefined : authority;
    case ":method":
      return method;
    case ":path":
      return target ?? path;
    case ":scheme":
      return scheme;
    default:
      return undefined;
  }
}

/** What Host is as well (RequestFacts.shortAuthority); undefined for other names. */
export function otherSpelling({ shortAuthority }: RequestFacts, name: string): string | undefined {
  return shortAuthority !== undefined && (name === "host" || name === ":authority") ? shortAuthority : undefined;
}

const LIST_JOINTS: readonly string[] = [",", ", "];
const COOKIE_JOINTS: readonly string[] = [...LIST_JOINTS, "; "];

/** What apps put between the lines of a header when they make one value of them: a comma, most with a space (RFC 9110 section 5.2); cookies, whose
 *  lines are pairs, are joined by a semicolon (RFC 9113 section 8.2.3). */
export function lineJoints(name: string): readonly string[] {
  return name === "cookie" ? COOKIE_JOINTS : LIST_JOINTS;
}

/** What the app gets from us under this name: no caller's line. */
function writtenHeader({ written }: RequestFacts, name: string): string | undefined {
  if (written !== undefined)
    for (let i = 0; i + 1 < written.length; i += 2) if (written[i] === name) return written[i + 1];
  return undefined;
}

/** All lines of the name as one value, or undefined without a line. Envoy joins by a comma alone. */
export function joinedHeader(request: RequestFacts, name: string, joint = ","): string | undefined {
  if (isPseudoHeader(name)) return pseudoHeader(request, name);
  let joined: string | undefined;
  for (let at = nextHeaderLine(request, name, 0); at !== -1; at = nextHeaderLine(request, name, at + 1)) {
    const value = request.headers[at] ?? "";
    joined = joined === undefined ? value : `${joined}${joint}${value}`;
  }
  return joined ?? writtenHeader(request, name);
}
