/** Whether a field, its name in any case, belongs to one hop only or frames the body, so that no message takes it from another
 *  (RFC 9110 section 7.6.1, RFC 9113 section 8.2.2): connection, keep-alive, proxy-connection, te, upgrade, http2-settings, content-length,
 *  transfer-encoding. By length first: nearly every other name is passed after one comparison. */
export function isHopByHop(name: string): boolean {
  switch (name.length) {
    case 2:
      return isSame(name, "te");
    case 7:
      return isSame(name, "upgrade");
    case 10:
      return isSame(name, "connection") || isSame(name, "keep-alive");
    case 14:
      return isSame(name, "content-length") || isSame(name, "http2-settings");
    case 16:
      return isSame(name, "proxy-connection");
    case 17:
      return isSame(name, "transfer-encoding");
    default:
      return false;
  }
}

/** Compares without regard to case. `lower` is as long as `name`. Bit 5 also equates a few marks and controls with what `lower` has:
 *  none of those is in a valid name. */
function isSame(name: string, lower: string): boolean {
  for (let at = 0; at < lower.length; at++) if ((name.charCodeAt(at) | 32) !== lower.charCodeAt(at)) return false;
  return true;
}
