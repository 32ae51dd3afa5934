/** ALPN name of HTTP/2 between two Countersign sidecars, with streams that stand for TCP connections. Nobody else offers it, so that any
 *  other peer gets plain TLS for what is not HTTP. */
export const TUNNEL_ALPN = "countersign/1";
/** `:protocol` of the extended CONNECT (RFC 8441) that opens such a stream. Its `:path` is a slash and the name of an inbound; the slash
 *  alone is the one that it arrives on. Never a port or an address. */
export const TUNNEL_PROTOCOL = "countersign-tcp";
/** HTTP/2 wants an authority; a tunnel has none to name. */
export const TUNNEL_AUTHORITY = "countersign";

/** The path that names an inbound; "": the one that the stream arrives on. */
export function tunnelPath(inbound: string): string {
  return `/${encodeURIComponent(inbound)}`;
}

/** The inbound that a path names. A path that names none in our spelling gives a name that no inbound has. */
export function tunnelNameOf(path: string): string {
  try {
    const name = decodeURIComponent(path.slice(1));
    return tunnelPath(name) === path ? name : path;
  } catch {
    return path;
  }
}
