/** Whether `text` is a host with an optional port (RFC 9110 section 4.2.1, RFC 3986 section 3.2), and nothing that two programs could
 *  read differently: no userinfo, list, path, percent-encoding, empty label, empty port, port above 65535 or with a leading zero.
 *  `needsPort` as CONNECT does. */
export function isAuthority(text: string, needsPort: boolean): boolean {
  const hostEnd = text.charCodeAt(0) === OPEN_BRACKET ? endOfAddress(text) : endOfName(text);
  if (hostEnd <= 0) return false;
  if (hostEnd === text.length) return !needsPort;
  return text.charCodeAt(hostEnd) === COLON && isPort(text, hostEnd + 1);
}

const OPEN_BRACKET = 91;
const CLOSE_BRACKET = 93;
const COLON = 58;
const DOT = 46;
const ZERO = 48;

/** 1: letters, digits, `-` `.` `_` `~` (unreserved). */
const NAME_CHAR = new Uint8Array(128);
for (let code = 0; code < 128; code++) if (/[A-Za-z0-9._~-]/.test(String.fromCharCode(code))) NAME_CHAR[code] = 1;
/** 1: what an IPv6 address is written with. */
const ADDRESS_CHAR = new Uint8Array(128);
for (let code = 0; code < 128; code++) if (/[A-Fa-f0-9:.]/.test(String.fromCharCode(code))) ADDRESS_CHAR[code] = 1;

/** Behind the name, or -1. One dot may end it: that is the same name as without (RFC 1034 section 3.1). */
function endOfName(text: string): number {
  let before = DOT;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (NAME_CHAR[code] !== 1) return at;
    if (code === DOT && before === DOT) return -1;
    before = code;
  }
  return text.length;
}

/** Behind the `]` of an IPv6 address, or -1. Its groups are not counted: what matters is that no other reading is possible. */
function endOfAddress(text: string): number {
  let at = 1;
  let colons = 0;
  while (at < text.length && ADDRESS_CHAR[text.charCodeAt(at)] === 1) if (text.charCodeAt(at++) === COLON) colons++;
  return colons >= 2 && text.charCodeAt(at) === CLOSE_BRACKET ? at + 1 : -1;
}

function isPort(text: string, start: number): boolean {
  if (start === text.length || text.length - start > 5) return false;
  if (text.charCodeAt(start) === ZERO && text.length - start > 1) return false;
  let port = 0;
  for (let at = start; at < text.length; at++) {
    const digit = text.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return false;
    port = 10 * port + digit;
  }
  return port <= 65_535;
}
