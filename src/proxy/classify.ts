/** What the first bytes of a connection are. `more`: too few to tell. */
export type FirstBytes = "tls" | "http1" | "http2" | "opaque" | "more";

const H2_PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const TLS_HANDSHAKE = 0x16;
/** The longest method name that we wait for before a space (the IANA registry's longest is 17). */
const MAX_METHOD = 24;

function isToken(c: number): boolean {
  return (c >= 0x41 && c <= 0x5a) || c === 0x2d;
}

/** Tells TLS, HTTP/1, HTTP/2 with prior knowledge and anything else apart, by as few bytes as each needs. An HTTP/1 method is taken
 *  for one only when a request target follows: a slash, a star, `http` or a host, so that `SSH-2.0-x y` stays opaque.
 *  Pure; the caller owns the deadline. */
export function classifyFirstBytes(bytes: Uint8Array): FirstBytes {
  const length = bytes.length;
  if (length === 0) return "more";
  if (bytes[0] === TLS_HANDSHAKE) {
    if (length === 1) return "more";
    return bytes[1] === 3 ? "tls" : "opaque";
  }
  let same = 0;
  while (same < length && same < H2_PREFACE.length && bytes[same] === H2_PREFACE.charCodeAt(same)) same++;
  if (same === H2_PREFACE.length) return "http2";
  if (same === length) return "more";
  let i = 0;
  while (i < length && i <= MAX_METHOD && isToken(bytes[i] ?? 0)) i++;
  if (i === 0 || i > MAX_METHOD) return "opaque";
  if (i === length) return "more";
  if (bytes[i] !== 0x20) return "opaque";
  if (i + 1 === length) return "more";
  return startsTarget(bytes, i + 1) ? "http1" : "opaque";
}

/** Whether what follows the method and a space can start a request target: `/`, `*`, or a letter or digit or `[` for the
 *  absolute and authority forms. */
function startsTarget(bytes: Uint8Array, at: number): boolean {
  const c = bytes[at] ?? 0;
  return (
    c === 0x2f ||
    c === 0x2a ||
    c === 0x5b ||
    (c >= 0x30 && c <= 0x39) ||
    (c >= 0x41 && c <= 0x5a) ||
    (c >= 0x61 && c <= 0x7a)
  );
}
