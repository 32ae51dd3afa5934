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

/** All lines of the name as one value (RFC 9110 section 5.2; Envoy joins by a comma alone), or undefined without a line. */
export function joinedHeader(request: RequestFacts, name: string): string | undefined {
  // Envoy and HTTP/2 know Host as :authority.
  if (name === "host") return request.authority === "" ? undefined : request.authority;
  let joined: string | undefined;
  for (let at = nextHeaderLine(request, name, 0); at !== -1; at = nextHeaderLine(request, name, at + 1)) {
    const value = request.headers[at] ?? "";
    joined = joined === undefined ? value : `${joined},${value}`;
  }
  return joined;
}
