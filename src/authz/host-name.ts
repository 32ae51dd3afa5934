const DOT = 0x2e;
const COLON = 0x3a;

/** Offset of the colon before a port (which may be empty), or the length when there is none. Knows `[v6]:port`. */
function portStart(host: string): number {
  for (let i = host.length - 1; i >= 0; i--) {
    const code = host.charCodeAt(i);
    if (code === COLON) return i;
    if (code < 0x30 || code > 0x39) break;
  }
  return host.length;
}

/** An authority as policy compares it (RFC 9110 section 4.2.3: case does not count). strict: one trailing dot of the name is removed,
 *  for it names the same host. Allocates nothing when there is nothing to change. */
export function canonicalHost(authority: string, strict: boolean): string {
  const lower = authority.toLowerCase();
  if (!strict) return lower;
  const end = portStart(lower);
  return end > 1 && lower.charCodeAt(end - 1) === DOT ? lower.slice(0, end - 1) + lower.slice(end) : lower;
}

/** The name or address of a canonical authority, without `:port` or a lone `:`. */
export function hostWithoutPort(host: string): string {
  const end = portStart(host);
  return end === host.length ? host : host.slice(0, end);
}

/** Whether a host value of a policy says something about the port. A star stands for any text. */
export function namesPort(value: string): boolean {
  const bracket = value.lastIndexOf("]");
  return value.includes(":", bracket + 1);
}
