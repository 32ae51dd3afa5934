/** Byte values that the codec names. */
export const HTAB = 9;
export const LF = 10;
export const CR = 13;
export const SP = 32;
export const COLON = 58;

const TOKEN_MARKS = "!#$%&'*+-.^_`|~";

/** Lower-cased byte for a `tchar` of RFC 9110 section 5.6.2, else 0. */
export const TOKEN_LOWER: Uint8Array = new Uint8Array(256);
for (const mark of TOKEN_MARKS) TOKEN_LOWER[mark.charCodeAt(0)] = mark.charCodeAt(0);
for (let digit = 48; digit <= 57; digit++) TOKEN_LOWER[digit] = digit;
for (let letter = 97; letter <= 122; letter++) {
  TOKEN_LOWER[letter] = letter;
  TOKEN_LOWER[letter - 32] = letter;
}

/** 1 for what a field value or reason phrase may hold: HTAB, SP, VCHAR, obs-text (RFC 9110 section 5.5). No other control. */
export const VALUE_BYTE: Uint8Array = new Uint8Array(256).fill(1, 32);
VALUE_BYTE[HTAB] = 1;
VALUE_BYTE[127] = 0;

/** 1 for what a request target may hold: printable ASCII without SP and `#`. */
export const TARGET_BYTE: Uint8Array = new Uint8Array(256).fill(1, 33, 127);
TARGET_BYTE["#".charCodeAt(0)] = 0;

/** Value of a hexadecimal digit, else 255. */
export const HEX_VALUE: Uint8Array = new Uint8Array(256).fill(255);
for (let value = 0; value < 16; value++) {
  const digit = value.toString(16);
  HEX_VALUE[digit.charCodeAt(0)] = value;
  HEX_VALUE[digit.toUpperCase().charCodeAt(0)] = value;
}

/** Whether `text` is a non-empty token (RFC 9110 section 5.6.2). */
export function isToken(text: string): boolean {
  if (text.length === 0) return false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code > 255 || TOKEN_LOWER[code] === 0) return false;
  }
  return true;
}
